"""How long an execution waits for the listing of the whole dataset, against boto3 that lists a page at a time.

    python -m benchmarks.listing                  # 535,234 photos and as many metadata files, about two minutes
    python -m benchmarks.listing --photos 50000

Both sides read from the same local S3 (benchmarks/object_server.py), in another process on the same cores, which
adds 100 ms to each request. The sequential side lists its first pages, and its time for all of them is computed from
those. One thread parses at a time, so the CPU time is what one processor needs: a function with 1,769 MB has one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import boto3
import psutil
from botocore.config import Config

from benchmarks import REPOSITORY
from benchmarks.claims import claim, exit_status
from benchmarks.ingest import WHOLE_LISTED, object_server
from benchmarks.object_server import BUCKET
from bucket_listing import AT_ONCE, PAGE, list_folder

FOLDERS: Final = ("bin-images/", "metadata/")
_SAMPLE_PAGES: Final = 20


def client() -> Any:
    """A client of the local S3, with the connections that the function has."""
    create: Any = boto3.client
    config = Config(max_pool_connections=AT_ONCE, s3={"addressing_style": "path"})
    return create(
        "s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=config,
    )  # fmt: skip


def sequential(pages: int) -> float:
    """Seconds a page of boto3's paginator."""
    s3 = client()
    began = time.monotonic()
    listed = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=FOLDERS[0], PaginationConfig={"MaxItems": pages * PAGE}
    )
    counted = sum(len(page["Contents"]) for page in listed)
    return (time.monotonic() - began) * PAGE / counted


def main() -> int:
    """Measure and print; the exit status is 1 when the claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos-folder", type=Path, default=REPOSITORY.parent / "shared" / "abid")
    parser.add_argument("--photos", type=int, default=WHOLE_LISTED)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds added to each request")
    args = parser.parse_args()
    if not (args.photos_folder / "bin-images").is_dir():
        raise SystemExit(f"{args.photos_folder} holds no bin-images; give --photos-folder with photos")
    with object_server(args.photos_folder, args.photos, args.latency):
        page = sequential(max(1, min(_SAMPLE_PAGES, args.photos // PAGE)))
        began, cpu = time.monotonic(), psutil.Process().cpu_times()
        s3 = client()
        listings = [list_folder(s3, BUCKET, "", folder, until=began + 3600) for folder in FOLDERS]
        seconds, after = time.monotonic() - began, psutil.Process().cpu_times()
    objects = sum(listing.objects for listing in listings)
    used = after.user + after.system - cpu.user - cpu.system
    print(
        f"{objects:,} objects in {seconds:.1f} s, {used:.1f} s of CPU, {1000 * used / objects * PAGE:.1f} ms a page; "
        f"one page at a time: {page * objects / PAGE:.0f} s",
        flush=True,
    )
    claim("listing_times_sequential_boto3", page * objects / PAGE / seconds, at_least=5)
    return exit_status()


if __name__ == "__main__":
    sys.exit(main())
