"""Faults of network, disk and processes while Ingest runs: each costs time, and the result stays the same to the bit.

    python -m benchmarks.faults                  # 500 faults
    python -m benchmarks.faults --faults 60

A run is repeated until it ends well, as a person or a retry policy would repeat it. A run that fails must name the
fault, and the files of the last one must be those of a run without faults. Anything else counts as lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks import REPOSITORY
from benchmarks.object_server import BUCKET, LISTING, Fault, ObjectServer
from binventory.render import render_bucket

_NETWORK: Final = {"503": Fault.SLOW_DOWN, "reset": Fault.RESET, "cut": Fault.DROP, "flip": Fault.FLIP}
_A_RUN: Final = 20
"""Network faults of one run."""
_DISK: Final = ("train/train-00000.tar", "report/units/test-00000.json", "report/books.json")
_MOST_RUNS: Final = 5


def main() -> int:
    """Inject the faults, print what survived and the claims; 1 when a fault was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    injected: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_bucket(folder / "bucket", photos=asked.photos, seed=0)
        paths = (path for path in (folder / "bucket").rglob("*") if path.is_file())
        objects = {path.relative_to(folder / "bucket").as_posix(): path.read_bytes() for path in paths}
        with ObjectServer(objects) as server:
            clean, seconds = folder / "clean", time.monotonic()
            assert _run(server, clean) == (0, "")
            seconds = time.monotonic() - seconds
            number = 0
            while injected.total() < asked.faults:
                kind = (*_NETWORK, "full disk", "kill")[number % (len(_NETWORK) + 2)]
                out = folder / f"out-{number}"
                before = injected[kind]
                ended = _attempts(server, out, kind, draw, seconds, injected)
                if not ended or _files(out) != _files(clean):
                    lost[kind] += injected[kind] - before
                number += 1
    for kind, faults in injected.items():
        print(f"{kind:10} {faults:4} injected, {faults - lost[kind]:4} survived, {lost[kind]:4} lost")
    held = injected.total() >= asked.faults and not lost
    print(f"claim: faults-injected {injected.total()} goal {asked.faults} held")
    print(f"claim: faults-lost {lost.total()} goal 0 {'held' if held else 'missed'}")
    return 0 if held else 1


def _attempts(
    server: ObjectServer, out: Path, kind: str, draw: random.Random, seconds: float, injected: Counter[str]
) -> bool:
    """Run until it ends well; False where an error has no words or the runs do not end well."""
    left = 1 if kind not in _NETWORK else _A_RUN

    def fault(key: str, _: int) -> Fault | None:
        nonlocal left
        if kind not in _NETWORK or left == 0 or draw.random() > 0.2 or (key == LISTING and kind in ("cut", "flip")):
            return None
        left -= 1
        injected[kind] += 1
        return _NETWORK[kind]

    server.fault = fault
    if kind == "full disk":
        part = out / f"{draw.choice(_DISK)}.part"
        part.parent.mkdir(parents=True)
        part.symlink_to("/dev/full")
        injected[kind] += 1
    for attempt in range(_MOST_RUNS):
        kill = draw.uniform(0.0, seconds) if kind == "kill" and attempt == 0 else None
        injected["kill"] += kill is not None
        status, said = _run(server, out, kill)
        if status == 0:
            return True
        if status > 0 and not said.startswith("error: "):
            return False
    return False


def _run(server: ObjectServer, out: Path, kill: float | None = None) -> tuple[int, str]:
    """Exit status and standard error of one ingest, which is killed after so many seconds where they are given."""
    code = [str(REPOSITORY / name) for name in ("training_code", "inference_code", "")]
    environment = {**os.environ, "AWS_ENDPOINT_URL": server.endpoint_url, "PYTHONPATH": os.pathsep.join(code)}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        environment.pop(name, None)
    command = [sys.executable, f"{code[0]}/ingest.py", "--photos-uri", f"s3://{BUCKET}/", "--output", str(out)]
    flags = ["--block-size", "4", "--shard-photos", "12", "--cores", "1"]
    with subprocess.Popen(
        [*command, *flags], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, said = process.communicate(timeout=kill)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, said = process.communicate()
        return process.returncode, said


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
