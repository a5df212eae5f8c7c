"""Asks an asynchronous endpoint: the photo goes to S3, a request into the queue, and the answer comes from S3."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from binventory.client.counting import (
    ATTEMPTS,
    TRANSPORT,
    Count,
    CountError,
    count_of,
    is_refusal,
    photo_bytes,
    problem_of,
)
from binventory.client.fetching import FetchPolicy
from binventory.core.contents import bucket_and_key, mismatch
from binventory.core.remains import Remains
from binventory.core.words import counted

_MISSING: Final = {"NoSuchKey", "404", "NotFound"}
_DENIED: Final = "AccessDenied"
_LATE: Final = "late"
_FAILED: Final = "failed"
# What SageMaker says of a container's answer, and the reason in the container's own words.
_STATUS: Final = re.compile(r"Received (?:client |server )?error \((\d{1,3})\)")
_REASON: Final = re.compile(r'^\s*\{"error": \{"reason": "(\w+)"')
_OF_THE_SERVER: Final = {"busy", "internal", "model", "slow", "stopped"}


class AsyncRuntime(Protocol):
    """The part of boto3's `sagemaker-runtime` client that is used."""

    def invoke_endpoint_async(self, **request: Any) -> Any:
        """As boto3 documents it."""


@dataclass(frozen=True)
class Queue:
    """Where an asynchronous endpoint's client works."""

    endpoint: str
    input_uri: str
    """`s3://bucket/prefix/` for photos; the endpoint's role may read it."""
    runtime: AsyncRuntime
    s3: Any
    patience: float = 900.0
    """Seconds to wait for an answer: the first machine of an idle endpoint takes minutes."""
    expire_days: str = ""
    """Days after which the bucket's rule deletes what is below `input_uri`; "" where that is not known."""
    halted: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    """Set it to end every wait for an answer, in all threads: Ctrl-C reaches the main thread only."""
    folder: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False, compare=False)
    """Below `input_uri`, for this queue's photos only, so that what stays can be removed in one command."""
    kept: list[str] = field(default_factory=list, repr=False, compare=False)
    """Why a photo was not deleted; one reason for each photo that stays in the bucket."""

    def remains(self) -> Remains | None:
        """The photos that stay in the bucket; None where all were deleted."""
        if not self.kept:
            return None
        uri = f"{self.input_uri}{self.folder}/"
        after = f"after {counted(int(self.expire_days), 'day')}" if self.expire_days else "once its rule says so"
        return Remains(
            f"{counted(len(self.kept), 'photo')} below {uri}, which S3 deletes {after}",
            self.kept[0],
            f"aws s3 rm --recursive {uri}",
        )


def count_queued(
    photo: bytes | Path | str,
    queue: Queue,
    *,
    policy: FetchPolicy | None = None,
    pause: Callable[[float], object] | None = None,
) -> Count:
    """The count in a photo given as bytes, as a file's path, or as an https URL (a str), as soon as there is one.

    A request that fails is queued again, at most four times in all. The photo is removed from S3 again, unless its
    answer is late; one that stays is in `queue.kept`. Raises as `count_photo` does, and CountError when no answer came:
    `refused` where the server refused the photo, `failed` where the request failed otherwise, `late`, or `halted` once
    `queue.halted` is set. `pause` waits some seconds between two looks, by default for `queue.halted`.
    """
    data = photo_bytes(photo, policy)
    bucket, prefix = bucket_and_key(queue.input_uri)
    key = f"{prefix}{queue.folder}/{hashlib.sha256(data).hexdigest()}-{uuid.uuid4().hex}"
    try:
        queue.s3.put_object(Bucket=bucket, Key=key, Body=data)
    except ClientError as error:
        raise CountError(str(error.response["Error"]["Code"]), f"the photo was not queued: {error}") from error
    except TRANSPORT as error:
        _delete(queue, bucket, key)  # it may have arrived
        raise CountError("connection", f"the photo was not queued: {str(error)[:200]}") from error
    waits = False
    try:
        return _answered(queue, f"s3://{bucket}/{key}", pause or queue.halted.wait)
    except CountError as error:
        waits = error.reason == _LATE
        raise
    finally:
        if waits:
            queue.kept.append("SageMaker reads it when its turn comes, for the answer that is still to be written")
        else:
            _delete(queue, bucket, key)


def _delete(queue: Queue, bucket: str, key: str) -> None:
    """Without the right to delete it, or without a network, a photo stays until it expires; the count stands."""
    try:
        queue.s3.delete_object(Bucket=bucket, Key=key)
    except (ClientError, *TRANSPORT) as error:
        queue.kept.append(str(error)[:200])


def _answered(queue: Queue, location: str, pause: Callable[[float], object]) -> Count:
    """As `_answer`, but asks again what failed, as an endpoint that answers at once is asked again."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return _answer(queue, location, pause)
        except CountError as error:
            if error.reason != _FAILED:
                raise
        pause(2.0**attempt)
    return _answer(queue, location, pause)


def _answer(queue: Queue, location: str, pause: Callable[[float], object]) -> Count:
    try:
        reply = queue.runtime.invoke_endpoint_async(
            EndpointName=queue.endpoint, InputLocation=location, ContentType="image/jpeg", Accept="application/json"
        )
    except ClientError as error:
        raise problem_of(error) from error
    except TRANSPORT as error:
        raise CountError("connection", f"the photo was not queued: {str(error)[:200]}") from error
    deadline = time.monotonic() + queue.patience
    wait = 0.1
    while time.monotonic() < deadline:
        if queue.halted.is_set():
            raise CountError("halted", "the wait for its answer was interrupted")
        if (answer := _read(queue, reply["OutputLocation"])) is not None:
            return count_of(answer)
        if (failure := _read(queue, reply["FailureLocation"])) is not None:
            text = failure.decode("utf-8", "replace")
            raise CountError("refused" if _is_refusal(text) else _FAILED, text[:500])
        pause(wait)
        wait = min(wait * 1.5, 5.0)
    raise CountError(_LATE, f"no answer within {queue.patience:.0f} s; it will be written to {reply['OutputLocation']}")


def _is_refusal(failure: str) -> bool:
    """Whether a failure is the server's refusal of the photo: it was neither busy nor slow, and did not fail itself."""
    if status := _STATUS.search(failure):
        return is_refusal(int(status[1]))
    reason = _REASON.search(failure)
    return reason is not None and reason[1] not in _OF_THE_SERVER


def _read(queue: Queue, uri: str) -> bytes | None:
    bucket, key = bucket_and_key(uri)
    try:
        reply = queue.s3.get_object(Bucket=bucket, Key=key)
        body: bytes = reply["Body"].read()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code in _MISSING:
            return None
        if code == _DENIED:
            raise CountError(
                _DENIED,
                f"the answer may not be read: {error}. It takes s3:GetObject on {uri.rpartition('/')[0]}/*, and "
                f"s3:ListBucket on {bucket}, without which S3 denies an answer that is not there yet",
            ) from error
        raise problem_of(error) from error
    except TRANSPORT:
        return None  # it is asked for again
    return None if mismatch(reply, body) else body
