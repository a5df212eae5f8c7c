"""Faults of network, disk, processes and clock in every job: each costs time, and the result stays the same to the bit.

    python -m benchmarks.faults                               # 500 faults, ten minutes on 2 cores
    python -m benchmarks.faults --quick                       # some 190, most of them of the network
    python -m benchmarks.faults --parts embed,evaluate

A job that was stopped is run again until it ends well, as a person or a retry policy would. An attempt that fails must
name the fault, and what the last one made must be what a run without faults makes. Anything else counts as lost.

parts: ingest, embed, train (a head, and everything), evaluate, audit: killed at random, with a full disk, with a clock
that jumps. network: ingest and audit, with 503, reset, cut and flipped answers of the bucket, and an endpoint that is
busy or cuts its answers. The steps of the pipeline are tried beside the audit and the network.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from benchmarks import some_of
from benchmarks.claims import claim, exit_status
from benchmarks.damaging.stages import Made
from benchmarks.faulting import network
from benchmarks.faulting.faults import CLOCK, FAULTS, FULL_DISK, KILL, Outcome
from benchmarks.faulting.jobs import ENDPOINT, S3, SAGEMAKER, Attempt, Job, folders, over_the_network, steps
from benchmarks.faulting.network import Weather, storm
from tests.audited import runtime, write_folder

PARTS: Final = ("ingest", "embed", "train", "evaluate", "audit", "network")
TRIALS: Final = {KILL: 24, FULL_DISK: 3, CLOCK: 2}
"""Of each job."""
_FEWEST: Final = 8
_SECONDS: Final = 40
"""Kills are fewer where a run is slow: so many whole runs, but `_FEWEST` at least."""
_STORMS: Final = 3
"""Of each kind and job, with up to 20 faults each."""
_QUICK: Final = 8
_GOAL: Final = 500


@dataclass
class Tally:
    """Faults by job and kind, and what was said of those that were lost."""

    injected: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        both = Tally(Counter(self.injected), Counter(self.lost), self.words + other.words)
        # A sum of counters would leave out what is zero.
        both.injected.update(other.injected)
        both.lost.update(other.lost)
        return both

    def note(self, job: str, kind: str, outcome: Outcome) -> None:
        """Count one trial."""
        self.injected[job, kind] += outcome.injected
        if not outcome.survived:
            self.lost[job, kind] += max(1, outcome.injected)
            self.words.append(f"{job}, {kind}: {outcome.words.strip()[-500:]}")

    def say(self, job: str, kind: str) -> None:
        """Print one line about one kind of fault in one job."""
        print(f"  {job}, {kind}: {self.injected[job, kind]} injected, {self.lost[job, kind]} lost", flush=True)


def main() -> int:
    """Inject the faults, print what survived and the claims; 1 when one was missed."""
    options = _options()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    began = time.monotonic()
    lanes = [lane for lane in LANES if lane.parts & set(options.parts)]
    # A process each: they wait for the disk, for pauses between attempts and for one another's cores.
    with ProcessPoolExecutor(len(lanes), mp_context=get_context("spawn")) as pool:
        running = [pool.submit(lane.run, set(options.parts), options) for lane in lanes]
        tallies = [lane.result() for lane in running]
    whole = set(options.parts) == set(PARTS) and options.share >= 1
    return report(sum(tallies, Tally()), time.monotonic() - began, whole=whole)


def of_the_pipeline(parts: set[str], options: argparse.Namespace) -> Tally:
    """Every fault of the computer in the steps of the pipeline."""
    tally, draw = Tally(), random.Random(f"{options.seed}/pipeline")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for work in steps(folder / "world", options.photos):
            if work.name.partition(" ")[0] in parts:
                try_all(work, folder / "trial", options.share, draw, tally)
    return tally


def of_the_bucket(parts: set[str], options: argparse.Namespace) -> Tally:
    """Every fault of the computer in the audit, and every fault of the network."""
    tally, draw = Tally(), random.Random(f"{options.seed}/bucket")
    with tempfile.TemporaryDirectory() as name, surroundings(Path(name), options.seed) as (environment, weather):
        trial, (ingest, audit) = Path(name) / "trial", over_the_network(environment)
        if "audit" in parts:
            try_all(audit, trial, options.share, draw, tally)
        if "network" in parts:
            for work in (ingest, audit):
                try_network(work, trial, weather, options.share, tally)
    return tally


@dataclass(frozen=True)
class Lane:
    """Parts that are tried one after the other, beside those of the other lane."""

    parts: frozenset[str]
    run: Callable[[set[str], argparse.Namespace], Tally]


LANES: Final = (
    Lane(frozenset({"ingest", "embed", "train", "evaluate"}), of_the_pipeline),
    Lane(frozenset({"audit", "network"}), of_the_bucket),
)


def try_all(work: Job, parent: Path, share: float, draw: random.Random, tally: Tally) -> None:
    """Every fault of the computer, several times."""
    whole, seconds = undisturbed(work, parent)
    for kind, fault in FAULTS.items():
        trials = min(TRIALS[kind], max(_FEWEST, round(_SECONDS / seconds))) if kind == KILL else TRIALS[kind]
        for _ in range(max(1, round(trials * share))):
            with folders(parent, work) as (place, out):
                tally.note(work.name, kind, fault(work, place, out, whole, seconds, draw))
        tally.say(work.name, kind)


def try_network(work: Job, parent: Path, weather: Weather, share: float, tally: Tally) -> None:
    """Every fault of the network that the job can meet, several times."""
    whole, _ = undisturbed(work, parent)
    kinds = [*network.OF_THE_BUCKET, *(network.OF_THE_ENDPOINT if work.name == "audit" else ())]
    for kind in kinds:
        for _ in range(max(1, round(_STORMS * share))):
            with folders(parent, work) as (place, out):
                tally.note(work.name, kind, storm(work, place, out, whole, weather, kind))
        weather.kind = ""
        tally.say(work.name, kind)


def undisturbed(work: Job, parent: Path) -> tuple[Made, float]:
    """What a job makes without faults, and the seconds that it takes when everything is imported."""
    made: Made = {}
    seconds = 0.0
    for _ in range(2):
        with folders(parent, work) as (place, out):
            began = time.monotonic()
            attempt = Attempt(work, place, out)
            if attempt.status() or (found := attempt.made) is None:
                raise SystemExit(f"{work.name} does not end well without faults: {attempt.said}")
            made, seconds = found, time.monotonic() - began
    return made, seconds


def report(tally: Tally, seconds: float, *, whole: bool) -> int:
    """Print a table and the claims: of a whole run also that the faults were as many as they should be."""
    for (job, kind), faults in tally.injected.items():
        lost = tally.lost[job, kind]
        print(f"{job:18} {kind:14} {faults:4} injected, {faults - lost:4} survived, {lost:4} lost")
    for line in tally.words[:10]:
        print(f"lost: {line}")
    total, lost = tally.injected.total(), tally.lost.total()
    print(f"{total} faults in {seconds:.0f} s")
    claim("faults_lost", lost, at_most=0)
    if whole:
        claim("faults_injected", total, at_least=_GOAL)
    return exit_status()


@contextmanager
def surroundings(folder: Path, seed: int) -> Iterator[tuple[dict[str, str], Weather]]:
    """A bucket of bins and an endpoint that counts them, both under the weather; the variables that say where."""
    weather = Weather(random.Random(f"{seed}/network"))
    bins = write_folder(folder / "bins", 60)
    objects = {path.relative_to(bins).as_posix(): path.read_bytes() for path in bins.rglob("*") if path.is_file()}
    with ExitStack() as stack:
        bucket = stack.enter_context(network.server(objects, weather))
        endpoint = stack.enter_context(runtime(weather.endpoint)).aws.endpoint_url
        yield {S3: bucket.endpoint_url, ENDPOINT: str(endpoint), SAGEMAKER: str(endpoint)}, weather


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=some_of(PARTS), default=PARTS, help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of trials")
    parser.add_argument("--quick", dest="share", action="store_const", const=1 / _QUICK, help=f"a share of 1/{_QUICK}")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
