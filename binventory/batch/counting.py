"""Counts every photo in a folder of S3, or one of its photos."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from binventory.batch.estimate import PHOTOS_A_JOB
from binventory.batch.site import Site
from binventory.batch.transform import MAX_PHOTO_BYTES, Halted, Heard, Photos, TransformBatch
from binventory.core.aws import Aws, error_message
from binventory.core.contents import bucket_and_key
from binventory.core.errors import Exit, Problem
from binventory.core.remains import Left
from binventory.records.ids import PHOTO_SUFFIXES, is_photo


@dataclass(frozen=True)
class CountedPhoto:
    """One photo: the model's answer, or why there is none."""

    photo: str
    """`s3://bucket/key`."""
    count: int | None
    probabilities: dict[int, float] = field(default_factory=dict)
    error: str = ""


class Listed(NamedTuple):
    """A photo in S3."""

    key: str
    size: int
    """Bytes."""
    changed: datetime


def photos_at(aws: Aws, uri: str) -> Iterator[Listed]:
    """The JPEG and PNG files at an address, in S3's order, as they are listed.

    uri: `s3://bucket/folder/` with its slash, or `s3://bucket/key` of one photo.
    """
    bucket, prefix = bucket_and_key(uri)
    is_folder = uri.endswith("/")
    # S3 lists the key that is the prefix itself first.
    most = {} if is_folder else {"PaginationConfig": {"MaxItems": 1, "PageSize": 1}}
    pages = aws.client("s3").get_paginator("list_objects_v2")
    try:
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, **most):
            for entry in page.get("Contents", []):
                if is_photo(entry["Key"]) and (is_folder or entry["Key"] == prefix):
                    yield Listed(entry["Key"], int(entry["Size"]), entry["LastModified"])
    except ClientError as error:
        raise Problem(
            f"{uri} cannot be listed",
            error_message(error),
            "check the bucket's name and that you may list it",
            code=Exit.NOT_READY,
        ) from error


def count_prefix(
    aws: Aws,
    site: Site,
    uri: str,
    *,
    agreed: Callable[[int], None],
    heard: Heard,
    halted: Halted,
    left: Left,
    failed: Callable[[str], None],
) -> Iterator[CountedPhoto]:
    """Every photo at `s3://bucket/folder`, in groups of one job each, sorted by key within it.

    uri: the key of a photo is that photo; everything else is a folder, with or without its slash. S3 itself would find
    the photos of `hall10/` below `hall1` as well.
    agreed: called with the number of photos before anything is started; raising leaves everything as it was.
    failed: called with a sentence about each job that failed with some of its answers; each photo without one has the
        job's reason as its error.
    Raises Problem.
    """
    bucket = bucket_and_key(uri)[0]
    uri = _folder_or_photo(aws, site, uri)
    total = sum(1 for _ in photos_at(aws, uri))
    if not total:
        raise Problem(
            f"There are no photos in {uri}",
            f"no key there ends in {', '.join(PHOTO_SUFFIXES[:-1])} or {PHOTO_SUFFIXES[-1]}; "
            "a folder is counted by its whole name",
            f"look what is there: aws s3 ls {shlex.quote(uri.removesuffix('/'))}",
            code=Exit.USAGE,
        )
    agreed(total)
    batch = TransformBatch(aws, site, "count", halted=halted, left=left)
    photos = photos_at(aws, uri)
    while group := list(islice(photos, PHOTOS_A_JOB)):
        found: dict[str, Any] = {
            photo.key: _error(_too_large(photo.size)) for photo in group if photo.size > MAX_PHOTO_BYTES
        }
        keys = [photo.key for photo in group if photo.key not in found]
        if keys:
            with batch.answers(Photos(f"s3://{bucket}/", keys, partial(_changed, group)), heard) as answers:
                found.update(answers)
            lacking = [key for key in keys if key not in found]
            if sentence := answers.missing(len(lacking), len(keys), "the same command counts all photos again"):
                failed(sentence)
                found.update((key, _error(answers.failure)) for key in lacking)
        yield from (_counted(f"s3://{bucket}/{photo.key}", found.get(photo.key)) for photo in group)


def _changed(photos: Sequence[Listed]) -> datetime:
    return max(photo.changed for photo in photos)


def _folder_or_photo(aws: Aws, site: Site, uri: str) -> str:
    """The address with the slash of a folder, or as it is where it is a photo's. Raises Problem as `count_prefix`."""
    folder = uri if uri.endswith("/") else f"{uri}/"
    site.require_readable(folder)
    if not is_photo(uri) or not any(True for _ in photos_at(aws, uri)):
        return folder
    site.require_readable(uri)
    return uri


def _too_large(size: int) -> str:
    """Why a photo is not sent: it would fail the whole job."""
    return f"it has {size} bytes; SageMaker lets {MAX_PHOTO_BYTES} reach a transform job"


def _error(message: str) -> Any:
    """An answer in the endpoint's form for a photo that has none."""
    return {"error": {"message": message}}


def _counted(photo: str, answer: Any) -> CountedPhoto:
    if not isinstance(answer, dict):
        return CountedPhoto(photo, None, error="no answer: it could not be read")
    if "error" in answer:
        return CountedPhoto(photo, None, error=str(answer["error"].get("message", "refused")))
    shares = {int(count): float(share) for count, share in answer["probabilities"].items()}
    return CountedPhoto(photo, int(answer["count"]), shares)
