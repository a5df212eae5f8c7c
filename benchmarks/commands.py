"""How long people wait for commands, and what a set-up leaves on the disk.

    python -m benchmarks.commands                         # about half an hour on 2 idle cores
    python -m benchmarks.commands --only cost,synthesis   # a minute

- `setup` clones this checkout into a temporary folder and types `make setup` there, with the cache that pip has.
- `help` is `binventory --help`, and `cost` is `binventory cost`.
- `synthesis` is what `cdk synth` runs for dev, with all policies and without CloudFormation's own validator.
- `rehearsal` is `binventory rehearse`: rendered photos, the deployment of all stacks, their destruction.
- `tests` is `make test`.

Of the runs the median counts; setup, rehearsal and tests run once, however many runs are wanted. CPU seconds are
printed beside each time: of a machine with other programs they say more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import REPOSITORY, some_of
from benchmarks.claims import claim, exit_status
from binventory.core.tools import search_path

_BINVENTORY: Final = str(Path(sys.executable).with_name("binventory"))
_GIGABYTE: Final = 1e9


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command."""

    seconds: float
    cpu: float
    """CPU seconds of all its processes."""


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str] = {}, output: Path | None = None) -> Run:
    """Run a command without a terminal. Raises SystemExit with the end of what it said where it fails.

    output: the file that gets its standard output; None: what it said.
    """
    with ExitStack() as files:
        said = files.enter_context(tempfile.TemporaryFile("w+"))
        stdout = said if output is None else files.enter_context(output.open("w"))
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=stdout, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        if status != 0:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime)


def several(name: str, runs: int, once: Callable[[], Run]) -> Run:
    """The median of several runs, after one that is not counted; prints each."""
    once()
    found = [once() for _ in range(runs)]
    for number, each in enumerate(found, 1):
        print(f"run {number}  {name:10} {each.seconds:5.1f} s, {each.cpu:5.1f} s of CPU", flush=True)
    return Run(statistics.median(each.seconds for each in found), statistics.median(each.cpu for each in found))


def help_of_all(runs: int) -> None:
    """`binventory --help`."""
    found = several("help", runs, lambda: run([_BINVENTORY, "--help"], REPOSITORY))
    claim("help_seconds", found.seconds, at_most=0.4)
    claim("help_cpu_seconds", found.cpu, at_most=0.4)


def cost(runs: int) -> None:
    """`binventory cost`."""
    found = several("cost", runs, lambda: run([_BINVENTORY, "cost", "--quiet"], REPOSITORY, _with_tools()))
    claim("cost_seconds", found.seconds, at_most=4)
    claim("cost_cpu_seconds", found.cpu, at_most=4)


def synthesis(runs: int) -> None:
    """The app, as the CDK CLI starts it."""
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    with tempfile.TemporaryDirectory() as folder:
        variables = {"CDK_OUTDIR": folder, "CDK_CONTEXT_JSON": json.dumps(context), "CDK_VALIDATION": "false"}
        command = [sys.executable, "app.py"]
        found = several("synthesis", runs, lambda: run(command, REPOSITORY, _with_tools() | variables))
    claim("synthesis_seconds", found.seconds, at_most=3)
    claim("synthesis_cpu_seconds", found.cpu, at_most=3)


def setup(runs: int) -> None:
    """`make setup` in a clone of what is committed here; once, however many runs are wanted."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        # As a person's shell has it, not as this environment has.
        outside = {"PATH": os.pathsep.join(part for part in _path() if part != str(Path(sys.executable).parent))}
        python = str(getattr(sys, "_base_executable", sys.executable))
        found = run(["make", f"PYTHON={python}", "setup"], clone, outside)
        held = sum(bytes_on_disk(clone / name) for name in (".venv", "node_modules"))
    print(f"setup {found.seconds:.0f} s, {found.cpu:.0f} s of CPU, {held / _GIGABYTE:.2f} GB", flush=True)
    claim("setup_seconds", found.seconds, at_most=60)
    claim("setup_cpu_seconds", found.cpu, at_most=60)
    claim("setup_gigabytes", held / _GIGABYTE, at_most=1.9)


def rehearsal(_runs: int) -> None:
    """`binventory rehearse`."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "rehearsal.json"
        found = run([_BINVENTORY, "rehearse", "--json"], REPOSITORY, _with_tools(), output)
        steps = {step["name"]: step["seconds"] for step in json.loads(output.read_text())["steps"]}
    print(f"rehearsal {found.seconds:.0f} s, {found.cpu:.0f} s of CPU", flush=True)
    claim("rehearsal_seconds", found.seconds, at_most=75)
    claim("rehearsal_deploy_seconds", steps["Deploy"], at_most=8)
    claim("rehearsal_destroy_seconds", steps["Destroy"], at_most=8)


def tests(_runs: int) -> None:
    """`make test`, where everything is set up."""
    found = run(["make", "test"], REPOSITORY)
    print(f"tests {found.seconds:.0f} s, {found.cpu:.0f} s of CPU", flush=True)
    claim("tests_minutes", found.seconds / 60, at_most=4)


def bytes_on_disk(folder: Path) -> int:
    """Bytes that the files below a folder take; one with several names counts once."""
    blocks = {
        (facts.st_dev, facts.st_ino): facts.st_blocks
        for place, folders, names in os.walk(folder)
        for facts in (Path(place, name).lstat() for name in (*folders, *names))
    }
    return 512 * sum(blocks.values())


def _path() -> list[str]:
    return os.environ.get("PATH", os.defpath).split(os.pathsep)


def _with_tools() -> dict[str, str]:
    return {"PATH": search_path()}


PARTS: Final[Mapping[str, Callable[[int], None]]] = {
    "setup": setup, "help": help_of_all, "cost": cost, "synthesis": synthesis, "rehearsal": rehearsal, "tests": tests,
}  # fmt: skip


def main() -> int:
    """Measure and print; the exit status is 1 when a claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=some_of(tuple(PARTS)), default=tuple(PARTS), help=",".join(PARTS))
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    for part in asked.only:
        PARTS[part](asked.runs)
    return exit_status()


if __name__ == "__main__":
    sys.exit(main())
