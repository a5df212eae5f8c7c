"""Ingest: bin photos and their metadata in; checked, split, resized shards and a report out.

In a SageMaker Processing job this runs with the paths under /opt/ml that its defaults name. Run again with the same
arguments, it does only what is missing and leaves the same bytes.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingestion.destination import Destination
from ingestion.interruption import run_until_interrupted
from ingestion.job import ingest
from ingestion.report import merge
from ingestion.run import NO_LABELS, NO_LISTING, IngestError, IngestSettings, JobMachine
from ingestion.work import WorkLimits
from ingestion.workers import WorkError
from jobs.container import checked_output, leave, run_job
from jobs.settings import parse_settings, setting
from serving.cores import usable_cpus

EXAMPLES: Final = """examples:
  python ingest.py --photos-uri ../shared/abid --labels-uri ../shared/abid/labels.csv --output out
  python ingest.py --photos-uri s3://aft-vbi-pds/ --limit-per-class 2000 --output out
  python ingest.py --photos-uri s3://my-bucket/bins/ --labels-uri ids.csv --seed 7 --output out
  python ingest.py --merge out            # several machines wrote to different folders, now copied into `out`
"""
_INTERRUPTED: Final = 130


@dataclass(frozen=True)
class IngestFlags:
    """What decides the result, as in `IngestSettings`, and what this machine may use for it."""

    photos_uri: str | None = setting(
        "s3://bucket/prefix/, file:///folder or a folder, holding bin-images/ and metadata/", None
    )
    merge: Path | None = setting(
        "only write the whole report of machines that did not share this folder; takes no other flag", None, alone=True
    )
    labels_uri: str = setting(
        "CSV image_id,count[,label_source], CSV image_id, or the published .json; none: all photos, by their metadata",
        NO_LABELS,
    )
    listing: str = setting(
        "s3:// address of a listing that step Fingerprint wrote, to ingest what it names; none: list the source",
        NO_LISTING,
    )
    limit_per_class: int = setting("at most so many photos of each count; 0: all", 0, low=0)
    seed: int = setting("seed of the split, of sampling and of the order in the shards", 0)
    block_size: int = setting("neighbouring ids that stay in one split", 100, low=1)
    shard_photos: int = setting("candidates a shard; 0: by the size of the data", 0, low=0)
    output: Path = setting("folder to write to", Path("/opt/ml/processing/output"))
    resource_config: Path = setting(
        "file that names all machines and this one; without it this is the only one",
        Path("/opt/ml/config/resourceconfig.json"),
    )
    ignore_etags: bool = setting(
        "read every photo once more to compare contents; for buckets where only some ETags are MD5 sums", False
    )
    concurrency: int | None = setting("most requests in flight (default: 192 a core)", None, low=1)
    cores: int = setting("photos decoded at once", usable_cpus(), low=1)
    memory_mb: int | None = setting("photo bytes held between request and decoding (default: 8 a core)", None, low=1)


def main(arguments: list[str] | None = None) -> None:
    """Do one machine's share, or merge what several machines have written.

    Raises:
        JobError: a flag is wrong, the source cannot be read or the books do not balance; the message names the cure.
    """
    flags = parse_settings(IngestFlags, arguments, __doc__ or "", EXAMPLES)
    if flags.merge is not None:
        asyncio.run(merge(flags.merge))
        return
    if flags.photos_uri is None:
        raise IngestError("give either --photos-uri or --merge. See --help")
    settings = IngestSettings(
        photos_uri=flags.photos_uri,
        labels_uri=flags.labels_uri,
        limit_per_class=flags.limit_per_class,
        seed=flags.seed,
        block_size=flags.block_size,
        shard_photos=flags.shard_photos,
        ignore_etags=flags.ignore_etags,
        listing=flags.listing,
    )
    output = checked_output(flags.output)
    photo_bytes = flags.memory_mb and flags.memory_mb * 1024 * 1024
    limits = WorkLimits.of(flags.cores, concurrency=flags.concurrency, photo_bytes=photo_bytes)
    machine = JobMachine.read(flags.resource_config)
    job_config = flags.resource_config.with_name("processingjobconfig.json")
    destination = Destination.read(job_config, shared=machine.count > 1)
    work = ingest(settings, machine, output, limits=limits, destination=destination)
    run_until_interrupted(work, stopped=(WorkError,))


def launch(arguments: list[str]) -> int:
    """Run main. Returns the exit status: 0, 1 after an error, 130 after Ctrl-C."""
    try:
        return run_job(lambda: main(arguments))
    except KeyboardInterrupt:
        print("ingest stopped: finished shards are kept; run the same command again to continue", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    leave(launch(sys.argv[1:]))
