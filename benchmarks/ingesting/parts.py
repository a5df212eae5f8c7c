"""What the parts of ingest cost, each measured alone, and which share of them decoding and resizing alone are.

    python -m benchmarks.ingesting.parts          # about a minute on 2 cores

Each part is ingest's own code on real photos, in one process: medians of interleaved rounds, CPU time a photo. A whole
ingest costs more than their sum. It also has start, plan and books, and its parts share caches and the interpreter.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import REPOSITORY
from benchmarks.ingest import URL, object_server, with_a_workbench
from binventory.records.labels import Label
from ingestion.candidates import read_label
from ingestion.intake import ShardPhoto, Workbench, take_in
from ingestion.labels import Labelled
from ingestion.plan import Candidate, Unit
from ingestion.source import BinSource
from ingestion.split import SHARES
from ingestion.throttle import in_order
from ingestion.unit_files import PhotoOutcome, UnitWriter, make_folders
from ingestion.work import WorkLimits
from stacks.vocabulary import TRAIN, VALIDATION

LATENCY: Final = 0.1
OWN: Final = "decode and resize"
RECEIVE: Final = "receive photo and record, and read the record"
TAKE_IN: Final = "check, decode, resize and encode a training photo"
LOOK_AT: Final = "check a photo that keeps its bytes"
WRITE: Final = "write a photo and its row"
SHARE: Final = {RECEIVE: 1.0, TAKE_IN: SHARES[TRAIN], LOOK_AT: 1 - SHARES[TRAIN], WRITE: 1.0}
"""The parts of ingest, and of how many of the photos each is done to."""


@dataclass(frozen=True, slots=True)
class Received:
    """A photo and its record, as the bucket has them."""

    candidate: Candidate
    data: bytes
    labelled: Labelled


class Clock:
    """CPU time of this process, by part."""

    def __init__(self, photos: int) -> None:
        self.seen: dict[str, list[float]] = defaultdict(list)
        self._photos = photos

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count what the body takes as one more measurement of a part."""
        began = time.process_time()
        yield
        self.seen[part].append(1000 * (time.process_time() - began) / self._photos)

    def milliseconds(self, part: str) -> float:
        """The median of a part, for one photo."""
        return statistics.median(self.seen[part])


async def receive(clock: Clock) -> list[Received]:
    """All photos and records of the bucket, with as many requests in flight as a process of ingest has."""
    limits = WorkLimits.of(1)
    source = BinSource(URL, concurrency=limits.concurrency)
    listed = zip(await source.list_photos(), await source.list_metadata(), strict=True)
    candidates = [
        Candidate(photo.name.partition(".")[0], photo, Label(None, ""), record, block="0") for photo, record in listed
    ]
    await source.probe([candidate.photo for candidate in candidates])

    async def one(candidate: Candidate) -> Received:
        labelled = await read_label(source, candidate)
        data = await source.photo(candidate.photo)
        assert data is not None, "the local S3 has what it lists"
        return Received(candidate, data, labelled)

    with clock.on(RECEIVE):
        return [received async for _, received in in_order(candidates, one, limits.window)]


def write(received: list[Received], photos: list[ShardPhoto], folder: Path) -> None:
    """Write the photos as one shard, with rows and mark."""
    split = VALIDATION
    unit = Unit(f"{split}-00000", split, tuple(each.candidate for each in received), fingerprint="0" * 64)
    writer = UnitWriter(folder, unit, rule="block_deal")
    for each, photo in zip(received, photos, strict=True):
        writer.add(each.candidate, PhotoOutcome(each.labelled, photo))
    writer.finish()


def one_round(clock: Clock, folder: Path) -> None:
    """Measure every part once."""
    received = uvloop.run(receive(clock))
    use, bench = with_a_workbench(), Workbench()
    with clock.on(OWN):
        for each in received:
            use(each.data)
    with clock.on(TAKE_IN):
        small = [take_in(each.data, each.candidate.md5, bench, as_sent=False) for each in received]
    with clock.on(LOOK_AT):
        whole = [take_in(each.data, each.candidate.md5, bench, as_sent=True) for each in received]
    few = len(received) * SHARES[TRAIN]
    kept = [one if number < few else other for number, (one, other) in enumerate(zip(small, whole, strict=True))]
    with clock.on(WRITE):
        write(received, kept, folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos-folder", type=Path, default=REPOSITORY.parent / "shared" / "abid")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=1_175, help="in the bucket, for each round")
    args = parser.parse_args()
    if not (args.photos_folder / "bin-images").is_dir():
        raise SystemExit(f"{args.photos_folder} holds no bin-images; give --photos-folder with real photos")
    clock = Clock(args.photos)
    # As in ingest's processes.
    gc.freeze()
    gc.set_threshold(50_000)
    with object_server(args.photos_folder, args.photos, LATENCY), tempfile.TemporaryDirectory() as folder:
        make_folders(Path(folder))
        for _ in range(args.rounds):
            one_round(clock, Path(folder))
    own = clock.milliseconds(OWN)
    print(f"{own:6.3f} ms  {OWN}")
    for part, share in SHARE.items():
        print(f"{clock.milliseconds(part):6.3f} ms  {part} ({share:.0%} of the photos)")
    whole = sum(share * clock.milliseconds(part) for part, share in SHARE.items())
    print(f"{whole:6.3f} ms  the parts together; decoding and resizing alone are {own / whole:.2f} of them")


if __name__ == "__main__":
    main()
