"""How long plan, rows, books and report of the whole dataset take, and how much memory: ingest without its photos.

    python -m benchmarks.books                    # 535,234 photos, about five minutes on 2 idle cores
    python -m benchmarks.books --photos 50000

A local S3 (benchmarks/object_server.py), in another process on the same cores, lists as many photos and metadata files
as the dataset has. The labels are the published counts of 0 to 5 items; photos that the published list leaves out get
its counts in turn. So nearly all are kept, where the real dataset keeps three in five. Photos and metadata are listed,
and not read (benchmarks/ingesting/without_photos.py); all else is what ingest does.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import REPOSITORY
from benchmarks.claims import claim, exit_status
from benchmarks.ingest import URL, WHOLE_LISTED, object_server, peaks_of_memory

_COUNTS: Final = "counts-of-the-whole-dataset.csv.gz"


def labels_of(published: Path, photos: int) -> tuple[str, int]:
    """A labels file for the ids 00001 and up, and how many of them have 1 to 5 items."""
    with gzip.open(published, "rt", newline="") as stream:
        counts = {row["image_id"]: int(row["count"]) for row in csv.DictReader(stream)}
    others = itertools.cycle(counts.values())
    ids = [f"{number:05}" for number in range(1, photos + 1)]
    labelled = {image_id: counts[image_id] if image_id in counts else next(others) for image_id in ids}
    lines = [f"{image_id},{count}" for image_id, count in labelled.items()]
    return "\n".join(["image_id,count", *lines, ""]), sum(1 <= count <= 5 for count in labelled.values())


@dataclass(frozen=True, slots=True)
class Run:
    """One run of ingest."""

    seconds: float
    cpu: float
    """CPU seconds of ingest's processes."""
    server: float
    """CPU seconds of the local S3 meanwhile."""
    peak: int
    """Bytes that all of ingest's processes held at the same time."""
    peaks: int
    """Bytes: the sum of the most that each of them held."""
    books: dict[str, Any]
    manifest: int
    """Rows of the manifest."""


def run(folder: Path, published: Path, *, photos: int, latency: float) -> Run:
    """Ingest everything but the photos, in a separate process.

    Raises SystemExit where ingest fails, or its books are not those of the labels.
    """
    text, kept = labels_of(published, photos)
    with tempfile.TemporaryDirectory() as scratch, object_server(folder, photos, latency) as server:
        labels, output = Path(scratch) / "labels.csv", Path(scratch) / "out"
        labels.write_text(text)
        command = [sys.executable, "-m", "benchmarks.ingesting.without_photos", "--photos-uri", URL]
        command += ["--labels-uri", str(labels), "--output", str(output)]
        began, served = time.perf_counter(), server.cpu()
        process = psutil.Popen(command, cwd=REPOSITORY)
        peaks, peak = peaks_of_memory(process)
        _, status, usage = os.wait4(process.pid, 0)
        seconds, served = time.perf_counter() - began, server.cpu() - served
        if status != 0:
            raise SystemExit("ingest failed")
        books = json.loads((output / "report" / "books.json").read_text())
        manifest = sum(path.read_bytes().count(b"\n") for path in (output / "report").glob("manifest-*.jsonl"))
    if not books["kept"] == manifest == kept or books["listed"] != photos:
        raise SystemExit(f"{photos:,} were listed, {kept:,} have 1 to 5 items; the manifest has {manifest:,}: {books}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, served, peak, peaks, books, manifest)


def main() -> int:
    """Measure and print; the exit status is 1 when a claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = REPOSITORY.parent / "shared"
    parser.add_argument("--photos-folder", type=Path, default=shared / "abid", help="whose photos the S3 lists")
    parser.add_argument("--counts", type=Path, default=shared / "abid-10k" / _COUNTS, help="the published counts")
    parser.add_argument("--photos", type=int, default=WHOLE_LISTED)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds added to each request")
    args = parser.parse_args()
    for path in (args.photos_folder / "bin-images", args.counts):
        if not path.exists():
            raise SystemExit(f"{path} does not exist; give --photos-folder and --counts")
    found = run(args.photos_folder, args.counts, photos=args.photos, latency=args.latency)
    print(
        f"{args.photos:,} photos listed, {found.manifest:,} in the manifest: {found.seconds:.0f} s, "
        f"{found.cpu:.0f} s of CPU, the server's {found.server:.0f} s not counted; {found.peak / 1e6:.0f} MB at once, "
        f"each process's most added up {found.peaks / 1e6:.0f} MB",
        flush=True,
    )
    whole = WHOLE_LISTED / args.photos
    claim("books_minutes_of_the_whole_dataset", found.seconds / 60 * whole, at_most=3)
    claim("books_cpu_minutes_of_the_whole_dataset", found.cpu / 60 * whole, at_most=6)
    if args.photos == WHOLE_LISTED:
        claim("books_memory_mb", found.peak / 1e6, at_most=600)
    return exit_status()


if __name__ == "__main__":
    sys.exit(main())
