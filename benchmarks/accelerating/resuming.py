"""A fine-tuning on a GPU that is killed again and again, against one that is left alone, and two of those."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from benchmarks import RUNTIME
from benchmarks.accelerating.jobs import Row, finish, job, last, start
from benchmarks.accelerating.ranks import update_difference
from benchmarks.claims import claim

KILLS = 3


def resumed(folder: Path, row: Row, start_values: dict[str, Tensor], flags: Sequence[str], steps: int) -> None:
    """How far the weights of a run that was killed `KILLS` times are from those of a run that was not.

    Two runs that nobody kills differ too, because a GPU adds in varying order: the killed one may differ by three times
    as much, and by a hundredth of what training moved where those two are equal.
    """
    asked = [*flags, "--precision", row.precision]
    first, second = (_trained(folder / name, row, asked) for name in ("first", "second"))
    killed, at = _killed(folder / "killed", row, asked, steps)
    noise = update_difference(start_values, first, second)
    share = update_difference(start_values, first, killed)
    print(f"  resume {row.name}: killed after steps {', '.join(map(str, at))}; two runs alone differ by {noise:.2g}")
    claim(f"gpu_{row.precision}_killed_{KILLS}_times_share_from_whole", share, at_most=max(3 * noise, 0.01))


def _flags(place: Path) -> list[str]:
    return ["--output", str(place / "model"), "--checkpoints", str(place / "checkpoints"), "--checkpoint-seconds", "0"]


def _trained(place: Path, row: Row, flags: Sequence[str]) -> dict[str, Tensor]:
    job("train.py", *flags, *_flags(place), log=place / "train.log", environment=row.environment)
    return load_file(place / "model" / "model.safetensors")


def _killed(place: Path, row: Row, flags: Sequence[str], steps: int) -> tuple[dict[str, Tensor], list[int]]:
    program = [str(RUNTIME[0] / "train.py"), *flags, *_flags(place)]
    moments = sorted(random.Random(0).sample(range(1, steps - 1), KILLS))
    at = []
    for number, moment in enumerate(moments):
        log = place / f"killed{number}.log"
        process = start(program, log, row.environment)
        while process.poll() is None and (step := _newest(place / "checkpoints")) < moment:
            time.sleep(0.005)
        if process.poll() is not None:
            finish(process, logs=[log])
            raise SystemExit(f"the run ended before step {moment}")
        process.kill()
        process.wait()
        at.append(step)
    log = place / "train.log"
    finish(start(program, log, row.environment), logs=[log])
    if last(r"resumed at epoch=\d+ step=(\d+)", log) < at[-1]:
        raise SystemExit(f"the last attempt did not continue: see {log}")
    return load_file(place / "model" / "model.safetensors"), at


def _newest(checkpoints: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    return max((int(path.name.split("-")[1]) for path in checkpoints.glob("step-*.safetensors")), default=0)
