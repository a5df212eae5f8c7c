"""Which format to keep shards in: the same resized photos written and read back as tar, Parquet, LMDB and single files.

    pip install pyarrow lmdb && python -m benchmarks.shard_formats

Reading counts most: it is repeated every epoch, writing happens once. Rounds are interleaved; files come from the page
cache, so what is measured is the format and not the disk.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "training_code"), str(REPOSITORY / "inference_code")]

from ingestion.intake import Workbench, take_in  # noqa: E402
from ingestion.source import content_md5  # noqa: E402
from shard_lists import write_shard_list  # noqa: E402
from shards import Sample, ShardIndex, ShardWriter, read_shards  # noqa: E402

_RANDOM_READS: Final = 2000


@dataclass(frozen=True)
class Format:
    """How to write samples, and how to read their photos in order and at random."""

    name: str
    write: Callable[[Path, Sequence[Sample]], None]
    in_order: Callable[[Path], Iterator[bytes]]
    at_random: Callable[[Path, Sequence[int]], Iterator[bytes]]


def _record(sample: Sample) -> dict[str, Any]:
    return {"id": sample.id, "count": sample.count, "items": sample.items}


def _write_tar(folder: Path, samples: Sequence[Sample]) -> None:
    writer = ShardWriter(folder / "shard.tar")
    for sample in samples:
        writer.add(sample.id, sample.photo, _record(sample))
    write_shard_list(folder, [writer.close()])


def _tar_at_random(folder: Path, order: Sequence[int]) -> Iterator[bytes]:
    index = ShardIndex(folder)
    return (index[number].photo for number in order)


def _write_files(folder: Path, samples: Sequence[Sample]) -> None:
    for sample in samples:
        (folder / f"{sample.id}.jpg").write_bytes(sample.photo)
        (folder / f"{sample.id}.json").write_text(json.dumps(_record(sample)))


def _files_in_order(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("*.jpg")):
        json.loads(path.with_suffix(".json").read_bytes())
        yield path.read_bytes()


def _files_at_random(folder: Path, order: Sequence[int]) -> Iterator[bytes]:
    paths = sorted(folder.glob("*.jpg"))
    return (paths[number].read_bytes() for number in order)


def _parquet() -> Format:
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")

    def write(folder: Path, samples: Sequence[Sample]) -> None:
        columns = {
            "id": [sample.id for sample in samples],
            "count": [sample.count for sample in samples],
            "items": [list(sample.items) for sample in samples],
            "photo": [sample.photo for sample in samples],
        }
        # Photos are compressed already; small row groups, or reading one photo would read them all.
        parquet.write_table(arrow.table(columns), folder / "shard.parquet", compression="none", row_group_size=256)

    def in_order(folder: Path) -> Iterator[bytes]:
        for batch in parquet.ParquetFile(folder / "shard.parquet").iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield row["photo"]

    def at_random(folder: Path, order: Sequence[int]) -> Iterator[bytes]:
        file = parquet.ParquetFile(folder / "shard.parquet")
        for number in order:
            yield file.read_row_group(number // 256, columns=["photo"])["photo"][number % 256].as_py()

    return Format("parquet", write, in_order, at_random)


def _lmdb() -> Format:
    lmdb = importlib.import_module("lmdb")

    def write(folder: Path, samples: Sequence[Sample]) -> None:
        with lmdb.open(str(folder), map_size=2**32) as database, database.begin(write=True) as transaction:
            for number, sample in enumerate(samples):
                transaction.put(f"{number:08}.jpg".encode(), sample.photo)
                transaction.put(f"{number:08}.json".encode(), json.dumps(_record(sample)).encode())

    def in_order(folder: Path) -> Iterator[bytes]:
        with lmdb.open(str(folder), readonly=True, lock=False) as database, database.begin() as transaction:
            for key, value in transaction.cursor():
                if key.endswith(b".jpg"):
                    yield bytes(value)
                else:
                    json.loads(value)

    def at_random(folder: Path, order: Sequence[int]) -> Iterator[bytes]:
        with lmdb.open(str(folder), readonly=True, lock=False) as database, database.begin() as transaction:
            for number in order:
                yield bytes(transaction.get(f"{number:08}.jpg".encode()))

    return Format("lmdb", write, in_order, at_random)


def formats() -> list[Format]:
    """Those whose libraries are installed, the shards' own first."""
    found = [
        Format("tar", _write_tar, lambda folder: (s.photo for s in read_shards(folder)), _tar_at_random),
        Format("files", _write_files, _files_in_order, _files_at_random),
    ]
    for make in (_parquet, _lmdb):
        try:
            found.append(make())
        except ModuleNotFoundError as error:
            print(f"without {error.name}: it is not installed")
    return found


def resized(folder: Path, photos: int) -> list[Sample]:
    """As many samples as asked for from the photos of a folder, resized as ingest does."""
    originals = [path.read_bytes() for path in sorted((folder / "bin-images").glob("*.jpg"))]
    bench = Workbench()
    jpegs = [take_in(data, content_md5(data), bench, as_sent=False).data for data in originals[:photos]]
    return [
        Sample(f"{number:06}", jpegs[number % len(jpegs)], number % 5 + 1, (f"B{number:09}",))
        for number in range(photos)
    ]


def main() -> None:
    """Measure and print a table, then the claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos-folder", type=Path, default=REPOSITORY.parent / "shared" / "abid")
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    samples = resized(args.photos_folder, args.photos)
    order = random.Random(0).choices(range(len(samples)), k=_RANDOM_READS)
    rates: dict[tuple[str, str], list[float]] = {}
    sizes: dict[str, int] = {}
    contestants = formats()
    for _ in range(args.rounds):
        for contestant in contestants:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                began = time.perf_counter()
                contestant.write(folder, samples)
                written = time.perf_counter()
                assert sum(len(photo) for photo in contestant.in_order(folder)) == sum(len(s.photo) for s in samples)
                read = time.perf_counter()
                assert sum(1 for _ in contestant.at_random(folder, order)) == len(order)
                over = time.perf_counter()
                sizes[contestant.name] = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
            for what, number in (
                ("write", len(samples) / (written - began)),
                ("in order", len(samples) / (read - written)),
                ("at random", len(order) / (over - read)),
            ):
                rates.setdefault((contestant.name, what), []).append(number)
    median = {key: statistics.median(values) for key, values in rates.items()}
    payload = sum(len(sample.photo) for sample in samples)
    for contestant in contestants:
        shown = "  ".join(
            f"{what} {median[contestant.name, what]:9,.0f}/s" for what in ("write", "in order", "at random")
        )
        share = sizes[contestant.name] / payload
        print(f"{contestant.name:8} {shown}  {share:.2f} bytes on disk a byte of JPEG")
    best = max(median[contestant.name, "in order"] for contestant in contestants)
    ratio = median["tar", "in order"] / best
    # A core decodes a few hundred photos a second; a reader that hands over 5,000 is never what training waits for.
    print(f"tar reads in order at {ratio:.2f} of the fastest format")
    rate = median["tar", "in order"]
    print(f"claim: tar_reads_in_order_per_second {rate:.0f} goal >=5000 {'held' if rate >= 5000 else 'missed'}")


if __name__ == "__main__":
    main()
