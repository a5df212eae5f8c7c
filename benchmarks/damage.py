"""Whether a step misses damage to an intermediate file that it reads.

    python -m benchmarks.damage                          # 1,000 flipped bits, 200 cuts, and 200 of other kinds
    python -m benchmarks.damage --flips 100 --cuts 20 --others 20 --seed 7

A small bucket goes through all steps once. Then, many times, one file is damaged and the step that reads it is run. The
damage is detected when the step refuses, when it leaves out photos and names them, or when it makes the same bytes as
from undamaged files (it did the work again, or the bit has no meaning). Anything else counts as unseen. A step that
ends with an unexpected exception is counted separately.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims import claim, exit_status
from benchmarks.damaging import damages
from benchmarks.damaging.stages import Made, Refused, Stage, stages

Damage = Callable[[Path, random.Random, list[Path]], str]
OTHERS: tuple[Damage, ...] = (damages.zero, damages.swap, damages.remove)
REFUSED, SAME, UNSEEN, CRASHED = "refused", "same or named", "unseen", "without words"


@dataclass(frozen=True)
class Trial:
    """One damage and its outcome."""

    stage: str
    file: str
    what: str
    outcome: str
    words: str = ""


def main() -> int:
    """Print a table, what went unseen, and the claims; the exit status is 1 when one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--others", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        wanted: list[Damage] = [*[damages.flip] * asked.flips, *[damages.cut] * asked.cuts]
        wanted += [OTHERS[number % len(OTHERS)] for number in range(asked.others)]
        trials = list(run(all_stages(Path(folder)), Path(folder), wanted, asked.seed))
    print_table(trials)
    unseen, crashed = (sum(trial.outcome == outcome for trial in trials) for outcome in (UNSEEN, CRASHED))
    print(f"{asked.flips} flips, {asked.cuts} cuts, {asked.others} others in {time.monotonic() - began:.0f} s")
    claim("damage_unseen", unseen, at_most=0)
    claim("damage_without_words", crashed, at_most=0)
    return exit_status()


def all_stages(folder: Path) -> list[Stage]:
    """The stages, over the files of a small bucket of rendered bins."""
    from binventory.render import render_bucket

    render_bucket(folder / "bucket", photos=60, seed=0)
    return stages(folder / "world", folder / "bucket")


def run(every: Sequence[Stage], folder: Path, wanted: Iterable[Damage], seed: int) -> Iterator[Trial]:
    """Do each damage to a file of the next stage, drawn from the seed, and see. `folder` is for copies."""
    draw = random.Random(seed)
    whole: dict[str, Made] = {}
    for number, damage in enumerate(wanted):
        stage = every[number % len(every)]
        place, out = folder / "place", folder / "out"
        if stage.name not in whole:
            with _copy(stage, place, out):
                whole[stage.name] = stage.run(place, out)
        with _copy(stage, place, out):
            files = stage.files(place)
            path = draw.choice(files)
            file = path.relative_to(place).as_posix()
            what = damage(path, draw, files)
            yield _trial(stage, place, out, file, what, whole[stage.name])


@contextmanager
def _copy(stage: Stage, place: Path, out: Path) -> Iterator[None]:
    """A fresh copy of a stage's files and no output, for the body."""
    shutil.copytree(stage.source, place)
    try:
        yield
    finally:
        for path in (place, out, out.with_name(out.name + ".parts")):
            shutil.rmtree(path, ignore_errors=True)


def _trial(stage: Stage, place: Path, out: Path, file: str, what: str, whole: Made) -> Trial:
    try:
        made = stage.run(place, out)
    except Refused as error:
        return Trial(stage.name, file, what, REFUSED, str(error))
    except Exception as error:
        return Trial(stage.name, file, what, CRASHED, repr(error))
    return Trial(stage.name, file, what, SAME if stage.same(made, whole) else UNSEEN)


def print_table(trials: list[Trial]) -> None:
    """How each stage ended, and every trial that should not be."""
    for stage in dict.fromkeys(trial.stage for trial in trials):
        ended = Counter(trial.outcome for trial in trials if trial.stage == stage)
        print(
            f"{stage:32} " + "  ".join(f"{ended[outcome]:4} {outcome}" for outcome in (REFUSED, SAME, UNSEEN, CRASHED))
        )
    for trial in trials:
        if trial.outcome in (UNSEEN, CRASHED):
            print(f"{trial.outcome}: {trial.stage}: {trial.file}: {trial.what}: {trial.words}")


if __name__ == "__main__":
    sys.exit(main())
