"""Asks a deployed endpoint for the count in one photo, wherever the photo is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError

from binventory.client.fetching import FetchPolicy, fetch_photo

MAX_REQUEST_BYTES: Final = 6 * 1024 * 1024
"""SageMaker's limit for the body of InvokeEndpoint. Photos in a queue go through S3 and are not limited by it."""
TRANSPORT: Final = (HTTPClientError, ConnectionError, IncompleteReadError)
"""What botocore raises when an answer does not come, or not whole: it says nothing about the photo."""
_ATTEMPTS: Final = 4
_PNG: Final = b"\x89PNG\r\n\x1a\n"


class CountError(Exception):
    """The endpoint gave no count. `reason` is the endpoint's own stable code where it gave one."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Runtime(Protocol):
    """The part of boto3's `sagemaker-runtime` client that is used."""

    def invoke_endpoint(self, **request: Any) -> Any:
        """As boto3 documents it."""


@dataclass(frozen=True)
class Count:
    """The answer for a photo: the likeliest count, the probability of each count, and the model package."""

    count: int
    probabilities: Mapping[int, float]
    expected_count: float
    entropy: float
    package: str


def count_photo(
    photo: bytes | Path | str,
    *,
    endpoint: str,
    runtime: Runtime | None = None,
    policy: FetchPolicy | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Count:
    """The count in a photo given as bytes, as a file's path, or as an https URL (a str).

    A URL is fetched here, under `policy`. A busy endpoint gets the request again, at most four times in all, as does
    one whose answer was cut. Raises FetchError when the URL is not fetched, CountError when the endpoint has no answer,
    OSError when the file cannot be read.
    """
    data = photo_bytes(photo, policy)
    if len(data) > MAX_REQUEST_BYTES:
        raise CountError(
            "too_many_bytes", f"it has {len(data)} bytes; SageMaker lets {MAX_REQUEST_BYTES} reach an endpoint"
        )
    client: Runtime = runtime or _default_runtime()
    for attempt in range(_ATTEMPTS):
        try:
            reply = client.invoke_endpoint(
                EndpointName=endpoint,
                Body=data,
                ContentType="image/png" if data.startswith(_PNG) else "image/jpeg",
                Accept="application/json",
            )
            return count_of(reply["Body"].read())
        except ClientError as error:
            problem = problem_of(error)
            if problem.reason != "busy" or attempt == _ATTEMPTS - 1:
                raise problem from error
        except TRANSPORT as error:
            if attempt == _ATTEMPTS - 1:
                raise CountError("connection", f"the answer was cut: {str(error)[:200]}") from error
        pause(2.0**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _default_runtime() -> Runtime:
    import boto3

    runtime: Runtime = boto3.client("sagemaker-runtime")
    return runtime


def photo_bytes(photo: bytes | Path | str, policy: FetchPolicy | None) -> bytes:
    """A photo given as bytes, as a file's path, or as an https URL that `policy` lets through."""
    if isinstance(photo, str):
        return fetch_photo(photo, policy).photo
    return photo if isinstance(photo, bytes) else photo.read_bytes()


def count_of(body: bytes) -> Count:
    """The server's answer. Raises CountError for one that is of another server."""
    try:
        answer = json.loads(body)
        return Count(
            count=answer["count"],
            probabilities={int(count): share for count, share in answer["probabilities"].items()},
            expected_count=answer["expected_count"],
            entropy=answer["entropy"],
            package=answer["model"]["package"],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CountError("not_a_count", f"the endpoint's answer is no count: {body[:200]!r}") from error


def problem_of(error: ClientError) -> CountError:
    """A refusal by the endpoint, or by AWS before it."""
    code = error.response.get("Error", {}).get("Code", "")
    said: Any = error.response.get("OriginalMessage", "")
    try:
        refusal = json.loads(said)["error"]
        return CountError(str(refusal["reason"]), str(refusal["message"]))
    except (ValueError, TypeError, KeyError):
        busy = code in {"ServiceUnavailable", "ThrottlingException", "ModelNotReadyException"}
        return CountError("busy" if busy else code or "unknown", str(error))
