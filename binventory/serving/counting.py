"""Counts by the endpoint, whether it answers at once or through S3."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from binventory.client import CountError, FetchError, FetchPolicy, Queue, count_photo, count_queued
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.serving.endpoint import is_absent, no_endpoint, outputs

_UNLISTED = "photos are fetched by https from listed hosts only: --allow-host {} lists one more"
_OF_THE_PHOTO = (
    "empty", "not_jpeg_or_png", "unreadable", "too_many_pixels", "too_small", "aspect_ratio", "animated",
    "too_many_scans", "too_many_parts",
)  # fmt: skip
"""Reasons of the endpoint that say that it works, and that this file is none that it counts."""
_OTHERWISE = "download the photo, and give the file"


@dataclass(frozen=True)
class EndpointAnswer:
    """The endpoint's answer for one photo."""

    count: int
    probabilities: dict[int, float]
    expected_count: float
    milliseconds: float

    @property
    def confidence(self) -> float:
        """Probability of its count."""
        return self.probabilities.get(self.count, 0.0)


def find_queue(aws: Aws, names: Names) -> Queue | None:
    """The queue of an asynchronous endpoint; None where the endpoint answers at once, or there is no stack."""
    try:
        found = outputs(aws, names)
    except Problem:
        return None  # the request itself will name what is missing
    if "AsyncInputUri" not in found:
        return None
    return Queue(
        names.prefix,
        found["AsyncInputUri"],
        aws.client("sagemaker-runtime"),
        aws.client("s3"),
        expire_days=found.get("AsyncExpireDays", ""),  # stacks of older versions do not say
    )


def count(
    aws: Aws,
    names: Names,
    photo: bytes | Path | str,
    policy: FetchPolicy | None = None,
    queue: Queue | None = None,
) -> EndpointAnswer:
    """Counts the items in a photo, given as its bytes, as a file, or as an https URL that `policy` lets through.

    queue: from `find_queue`; None: the endpoint answers at once.
    """
    began = time.perf_counter()
    runtime = aws.client("sagemaker-runtime")
    try:
        if queue is not None:
            found = count_queued(photo, queue, policy=policy)
        else:
            found = count_photo(photo, endpoint=names.prefix, runtime=runtime, policy=policy)
    except CountError as error:
        raise _not_counted(aws, names, error) from error
    except FetchError as error:
        raise Problem(f"{photo!s} was not fetched", str(error), _fetch_cure(error), code=Exit.USAGE) from error
    except OSError as error:
        folder = isinstance(error, IsADirectoryError)
        cure = (
            f"name its photos, such as {photo!s}/*.jpg; binventory audit takes a folder" if folder else "check the name"
        )
        raise Problem(f"{photo!s} was not read", error.strerror or str(error), cure, code=Exit.USAGE) from error
    return EndpointAnswer(
        count=found.count,
        probabilities=dict(found.probabilities),
        expected_count=found.expected_count,
        milliseconds=(time.perf_counter() - began) * 1000,
    )


def _fetch_cure(error: FetchError) -> str:
    """What to do about an address that was not fetched, by its reason."""
    if error.reason in {"not_allowed", "scheme"}:
        return _UNLISTED.format(error.host or "NAME")
    if error.reason in {"url", "credentials", "host", "port", "not_a_photo"}:
        return f"give the https address of the photo itself, without a port or a password; or {_OTHERWISE}"
    return _OTHERWISE


def _not_counted(aws: Aws, names: Names, error: CountError) -> Problem:
    if is_absent(error.reason, str(error)):
        return no_endpoint(aws, names)
    cures = {
        "too_many_bytes": "make it smaller, for example 2,000 pixels wide, or count it from S3: "
        + names.command("count s3://..."),
        "connection": "check the network, then run the same command again",
    }
    cures |= dict.fromkeys(_OF_THE_PHOTO, "leave it out, or give the whole JPEG or PNG file of a photo")
    cure = cures.get(error.reason, f"see: {names.command('endpoint status')}")
    return Problem("The photo was not counted", f"{error} ({error.reason})", cure)
