"""Ingest: bin photos and their metadata in; checked, split, resized shards and a report out.

In a SageMaker Processing job this runs with the paths under /opt/ml that its defaults name. By hand:

    python ingest.py --photos-uri ../shared/abid --labels-uri ../shared/abid/labels.csv --output out
    python ingest.py --photos-uri s3://aft-vbi-pds/ --limit-per-class 2000 --output out
    python ingest.py --photos-uri s3://my-bucket/bins/ --labels-uri ids.csv --seed 7 --output out
    python ingest.py --merge out            # several machines wrote to folders of their own, now joined in `out`

Run again with the same arguments, it does only what is missing and leaves the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ingestion.destination import Destination
from ingestion.job import ingest
from ingestion.report import merge
from ingestion.run import IngestError, IngestSettings, Machine
from ingestion.work import Limits

_INTERRUPTED = 130


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The command line; every wrong value is refused here."""
    parser = argparse.ArgumentParser(
        "ingest.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--photos-uri", help="s3://bucket/prefix/, file:///folder or a folder, holding bin-images/ and metadata/"
    )
    what.add_argument(
        "--merge",
        type=Path,
        metavar="FOLDER",
        help="write the whole report of several machines that did not share a folder",
    )
    parser.add_argument(
        "--labels-uri",
        default="none",
        help="CSV image_id[,count[,label_source]] or the published file_list.json; none: all photos, by their metadata",
    )
    parser.add_argument(
        "--listing",
        default="none",
        help="s3:// address of a listing that step Fingerprint wrote: what it names is ingested; none: list the source",
    )
    parser.add_argument(
        "--limit-per-class", type=_whole(0), default=0, help="at most so many photos of each count; 0: all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split, of sampling and of the order in the shards")
    parser.add_argument("--block-size", type=_whole(1), default=100, help="neighbouring ids that stay in one split")
    parser.add_argument(
        "--shard-photos", type=_whole(0), default=0, help="candidates a shard; 0: by the size of the data"
    )
    parser.add_argument("--output", type=Path, default=Path("/opt/ml/processing/output"))
    parser.add_argument(
        "--resource-config",
        type=Path,
        default=Path("/opt/ml/config/resourceconfig.json"),
        help="which of how many machines this is; absent: the only one",
    )
    parser.add_argument(
        "--ignore-etags",
        action="store_true",
        help="read every photo once more to compare contents; for buckets where only some ETags are MD5 sums",
    )
    parser.add_argument("--concurrency", type=_whole(1), help="most requests in flight; 192 a core unless given")
    parser.add_argument("--cores", type=_whole(1), default=os.cpu_count() or 1, help="photos decoded at once")
    parser.add_argument(
        "--memory-mb", type=_whole(1), help="photo bytes held between request and decoding; 8 a core unless given"
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    """Run one machine's share, or merge what several have written. Returns the exit status, 130 after Ctrl-C."""
    try:
        if args.merge is not None:
            asyncio.run(merge(args.merge))
            return 0
        settings = IngestSettings(
            photos_uri=args.photos_uri,
            labels_uri=args.labels_uri,
            limit_per_class=args.limit_per_class,
            seed=args.seed,
            block_size=args.block_size,
            shard_photos=args.shard_photos,
            ignore_etags=args.ignore_etags,
            listing=args.listing,
        )
        photo_bytes = args.memory_mb and args.memory_mb * 1024 * 1024
        limits = Limits.of(args.cores, concurrency=args.concurrency, photo_bytes=photo_bytes)
        machine = Machine.read(args.resource_config)
        destination = Destination.read(
            args.resource_config.with_name("processingjobconfig.json"), shared=machine.count > 1
        )
        asyncio.run(ingest(settings, machine, args.output, limits=limits, destination=destination))
    except IngestError as error:
        print(f"ingest failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ingest stopped; finished shards are kept: run the same command again and it goes on", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    parse.__name__ = "whole number"
    return parse


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main(parse_arguments(sys.argv[1:])))
