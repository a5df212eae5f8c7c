"""Step Fingerprint of the pipeline: lists the objects that are at the addresses of photos, labels and weights now.

SageMaker's step cache compares addresses, but new photos have old addresses. So every execution invokes this function
first. It lists photos, metadata and labels, and writes the listing to S3 under the listing's SHA-256. Ingest takes that
address as an argument and reads the objects that it names: an equal listing finds the shards in the cache, any other
listing does not. Weights have a second fingerprint, which Embed takes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from binventory.core.contents import bucket_and_key
from bucket_listing import AT_ONCE, ListingTimeout, list_folder
from functions.interface import read_environment
from sealing import seal
from stacks import names
from stacks.environments import FingerprintEnvironment

PHOTOS: Final = "bin-images/"
METADATA: Final = "metadata/"
LABELS: Final = "labels"
"""Key of the labels file in a listing."""
_NO_LABELS: Final = "none"
_SCHEME: Final = "s3://"
# Left for writing the listing.
_LAST_SECONDS: Final = 20
_CONFIG: Final = Config(
    max_pool_connections=AT_ONCE,
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 8},
)


class FingerprintError(Exception):
    """An address cannot be read; the message becomes the failure reason of the step."""


@dataclass(frozen=True)
class _Address:
    """A bucket and a prefix of its keys."""

    name: str
    """The pipeline's parameter that has the address."""
    text: str
    bucket: str
    key: str


def handler(event: dict[str, str], context: Any) -> dict[str, str | int]:
    """The output parameters of the step.

    `event` has `PhotosUri`, `LabelsUri` and `Weights`; from the step Seal it has the addresses of shards (sealing.py).
    Raises FingerprintError or SealError where one of them cannot be read.
    """
    if names.PHOTOS_URI not in event:
        return {**seal(event)}
    began = time.monotonic()
    until = began + context.get_remaining_time_in_millis() / 1000 - _LAST_SECONDS
    s3 = boto3.client("s3", config=_CONFIG)
    at = _address(names.PHOTOS_URI, event[names.PHOTOS_URI])
    prefix = at.key.strip("/") + "/" if at.key.strip("/") else ""
    with _explained(at):
        photos = list_folder(s3, at.bucket, prefix, PHOTOS, until=until)
        metadata = list_folder(s3, at.bucket, prefix, METADATA, until=until)
    if not photos.objects:
        raise FingerprintError(f"{at.name} {at.text} lists no photo; it must hold {PHOTOS}<id>.jpg")
    lines = photos.lines + _labels(s3, event[names.LABELS_URI], until) + metadata.lines
    outputs: dict[str, str | int] = {
        names.LISTING: _write(s3, lines, read_environment(FingerprintEnvironment).listings),
        names.PHOTOS: photos.objects,
        names.METADATA: metadata.objects,
        names.WEIGHTS: _weights(s3, event[names.WEIGHTS], until),
    }
    print(json.dumps({**outputs, "seconds": round(time.monotonic() - began, 1)}))
    return outputs


def _labels(s3: Any, uri: str, until: float) -> bytes:
    """The line of the labels file; empty without one."""
    if uri == _NO_LABELS:
        return b""
    at = _address(names.LABELS_URI, uri)
    found = _object(s3, at, until)
    if not found:
        raise FingerprintError(f"{at.name} {at.text} does not exist; give a labels file, or {_NO_LABELS}")
    return f"{found}{LABELS}\n".encode()


def _weights(s3: Any, weights: str, until: float) -> str:
    """SHA-256 of the line of the weights' file; a value that is no address is returned as it is."""
    if not weights.startswith(_SCHEME):
        return weights
    at = _address(names.WEIGHTS, weights)
    found = _object(s3, at, until)
    if not found:
        raise FingerprintError(f"{at.name} {at.text} does not exist; give the address of a file of weights")
    return hashlib.sha256(f"{found}\n".encode()).hexdigest()


def _object(s3: Any, at: _Address, until: float) -> str:
    """The line of the object at an address, without its key; "" where there is none. Other keys begin alike."""
    with _explained(at):
        listed = list_folder(s3, at.bucket, at.key, "", until=until)
    return next((line for line in listed.lines.decode().splitlines() if line.endswith("\t")), "")


def _write(s3: Any, lines: bytes, folder: str) -> str:
    """Write the listing under its SHA-256; every time, so that it does not expire before it is used."""
    uri = f"{folder}/{hashlib.sha256(lines).hexdigest()}.gz"
    bucket, key = bucket_and_key(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(lines, compresslevel=1, mtime=0))
    return uri


def _address(name: str, text: str) -> _Address:
    bucket, key = bucket_and_key(text)
    if not text.startswith(_SCHEME) or not bucket:
        raise FingerprintError(f"{name} {text!r} is no address like s3://bucket/prefix/")
    # Here, where nothing bills yet: the job that gets a longer one, or the registration of the model, would fail.
    if problem := names.problem_of_address(text, registered=name != names.LABELS_URI):
        raise FingerprintError(f"{name} {text} {problem}")
    return _Address(name, text, bucket, key)


@contextmanager
def _explained(at: _Address) -> Iterator[None]:
    """Turn errors of S3 into FingerprintErrors that name the cure."""
    try:
        yield
    except ListingTimeout as error:
        raise FingerprintError(f"{at.name} {at.text}: {error}; divide it into several prefixes") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchBucket", "InvalidBucketName"):
            raise FingerprintError(f"{at.name} {at.text}: there is no bucket {at.bucket}") from error
        if code in ("AccessDenied", "403", "AllAccessDisabled"):
            raise FingerprintError(
                f"{at.name} {at.text}: access denied. The roles of the stacks read what settings name: name it there "
                "and deploy, or have the bucket's policy grant them s3:ListBucket and s3:GetObject"
            ) from error
        raise FingerprintError(f"{at.name} {at.text}: {error}") from error
