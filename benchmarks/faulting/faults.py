"""Faults of a computer that a job meets by itself: it is killed, its disk is full, its clock jumps."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.damaging.stages import Made
from benchmarks.faulting.jobs import Attempt, Job

KILL, FULL_DISK, CLOCK = "kill", "full disk", "clock jumps"
_MOST_ATTEMPTS: Final = 5
_FULL: Final = "/dev/full"
_LONGEST_JUMP_SECONDS: Final = 100_000


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: how many faults there were, and whether they were survived; `words` if not."""

    injected: int
    survived: bool
    words: str = ""


def kill(work: Job, place: Path, out: Path, whole: Made, seconds: float, draw: random.Random) -> Outcome:
    """SIGKILL at a moment of the time that a run takes, in every attempt but the last."""
    kills = 0
    for _ in range(draw.choice((1, 1, 2))):
        attempt = Attempt(work, place, out)
        attempt.kill_after(draw.uniform(0.0, seconds))
        if attempt.status() == 0:
            return Outcome(kills, attempt.made == whole, "another result than that of a run without faults")
        if attempt.status() != -signal.SIGKILL:
            return Outcome(kills, survived=False, words=f"it ended before it was killed: {attempt.said}")
        kills += 1
    return _ended(work, place, out, whole, kills)


def full_disk(work: Job, place: Path, out: Path, whole: Made, seconds: float, draw: random.Random) -> Outcome:
    """Writing one of the files finds no space; the attempt says so, and the next one has space again.

    Files are tried until one is written to the full disk: some are renamed into their place, over the trap.
    """
    # The mark of a finished unit is read before it is written, and the device that is always full has no end.
    written = sorted(name for name, content in whole.items() if content and "/units/" not in name)
    for name in draw.sample(written, len(written)):
        traps = _traps(work, place, out, name)
        for trap in traps:
            trap.parent.mkdir(parents=True, exist_ok=True)
            trap.symlink_to(_FULL)
        first = Attempt(work, place, out)
        status = first.status()
        for trap in traps:
            if trap.is_symlink():
                trap.unlink()
        if status == 0:
            if first.made != whole:
                return Outcome(0, survived=False, words="another result than that of a run without faults")
            _afresh(work, place, out)
            continue
        if "no space is left on the disk" not in first.said or "Traceback" in first.said:
            return Outcome(1, survived=False, words=first.said)
        return _ended(work, place, out, whole, 1)
    return Outcome(0, survived=False, words="none of its files was written to the full disk")


def _afresh(work: Job, place: Path, out: Path) -> None:
    """The folders as the first attempt finds them."""
    for folder in (place, out):
        shutil.rmtree(folder, ignore_errors=True)
    work.prepare(place)


def clock_jumps(work: Job, place: Path, out: Path, whole: Made, seconds: float, draw: random.Random) -> Outcome:
    """Every look at the clock may find another day."""
    attempt = Attempt(work, place, out, [partial(_jump, draw.randrange(2**32))])
    status = attempt.status()
    return Outcome(1, status == 0 and attempt.made == whole, attempt.said or "another result")


Fault = Callable[[Job, Path, Path, Made, float, random.Random], Outcome]
FAULTS: Final[dict[str, Fault]] = {KILL: kill, FULL_DISK: full_disk, CLOCK: clock_jumps}


def _ended(work: Job, place: Path, out: Path, whole: Made, injected: int) -> Outcome:
    """Run it again until it ends well, as a retry policy does; an attempt that fails must say why."""
    said = ""
    for _ in range(_MOST_ATTEMPTS):
        attempt = Attempt(work, place, out)
        if attempt.status() == 0:
            same = attempt.made == whole
            return Outcome(injected, same, "" if same else "another result than that of a run without faults")
        said = attempt.said
        if not attempt.named:
            break
    return Outcome(injected, survived=False, words=said)


def _traps(work: Job, place: Path, out: Path, name: str) -> list[Path]:
    """Every path at which a file of that name may be written first."""
    found = []
    for folder in (place, place / "model", place / "model.parts", place / "audit", out):
        path = folder / name
        found += [path, path.with_name(path.name + ".part"), path.with_name(path.name + ".partial")]
        found += [path.with_suffix(".partial"), path.with_name(f".{path.name}.part")]
    return [path for path in dict.fromkeys(found) if not path.exists()]


def _jump(seed: int) -> None:
    chance, now, now_ns = random.Random(seed), time.time, time.time_ns

    def away() -> int:
        return chance.choice((0, chance.randint(-_LONGEST_JUMP_SECONDS, _LONGEST_JUMP_SECONDS)))

    time.time = lambda: now() + away()
    time.time_ns = lambda: now_ns() + away() * 10**9
