"""Asks a deployed endpoint for the count in one photo, wherever the photo is."""

from __future__ import annotations

import json
import os
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
ATTEMPTS: Final = 4
"""How often an endpoint is asked in all, where it is busy or fails."""
_BUSY_CODES: Final = {"ServiceUnavailable", "ThrottlingException", "ModelNotReadyException"}
_TOO_LARGE: Final = 413
# Of a serverless endpoint, which takes 4 MB. Seen: https://github.com/aws/sagemaker-python-sdk/issues/4271
_OVERSIZE: Final = "oversize body"
_PASSING: Final = {408, 429}
"""Statuses below 500 that say nothing about the photo: it came too slowly, or there are too many requests."""
# A container has 60 seconds. AWS documentation: InvokeEndpoint, which asks for 70 on the caller's side.
_WAIT_SECONDS: Final = 70
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

    `runtime`: by default boto3's, in the region of AWS_REGION, else in boto3's own. A URL is fetched here, under
    `policy`. An endpoint that is busy or fails gets the request again, at most four times
    in all, as does one whose answer was cut. Raises FetchError when the URL is not fetched, CountError when the
    endpoint has no answer, OSError when the file cannot be read.
    """
    data = photo_bytes(photo, policy)
    if len(data) > MAX_REQUEST_BYTES:
        raise CountError(
            "too_many_bytes", f"it has {len(data)} bytes; SageMaker lets {MAX_REQUEST_BYTES} reach an endpoint"
        )
    try:
        return count_of(answer_to(data, endpoint, runtime or _default_runtime(), pause=pause))
    except ClientError as error:
        if is_too_large(error):
            message = f"it has {len(data)} bytes; that is more than this endpoint takes: {error}"
            raise CountError("too_many_bytes", message) from error
        raise problem_of(error) from error
    except TRANSPORT as error:
        raise CountError("connection", f"the answer was cut: {str(error)[:200]}") from error


def answer_to(
    photo: bytes,
    endpoint: str,
    runtime: Runtime,
    *,
    attempts: int = ATTEMPTS,
    pause: Callable[[float], None],
    begin: Callable[[], None] = lambda: None,
) -> bytes:
    """The body of an endpoint's answer; a request that may be answered later, or whose answer was cut, is repeated.

    `begin` is called before each attempt, `pause` after one that failed, with seconds that double each time. Raises
    ClientError, or one of TRANSPORT, of the last attempt.
    """
    for attempt in range(attempts):
        begin()
        try:
            reply = runtime.invoke_endpoint(
                EndpointName=endpoint,
                Body=photo,
                ContentType="image/png" if photo.startswith(_PNG) else "image/jpeg",
                Accept="application/json",
            )
            return bytes(reply["Body"].read())
        except ClientError as error:
            if is_too_large(error) or not may_pass(error) or attempt == attempts - 1:
                raise
        except TRANSPORT:
            if attempt == attempts - 1:
                raise
        pause(2.0**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _default_runtime() -> Runtime:
    import boto3
    from botocore.config import Config

    # boto3 reads AWS_DEFAULT_REGION and the profile only; all commands take AWS_REGION first.
    region = os.environ.get("AWS_REGION") or None
    config = Config(read_timeout=_WAIT_SECONDS)
    runtime: Runtime = boto3.client("sagemaker-runtime", region_name=region, config=config)
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


def is_too_large(error: ClientError) -> bool:
    """Whether SageMaker has refused the photo for its size, which depends on the kind of the endpoint."""
    said = error.response.get("Error", {})
    if said.get("Code") == "ModelError":
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == _TOO_LARGE or _OVERSIZE in said.get("Message", "")


def is_refusal(status: int) -> bool:
    """Whether a container's status refuses the photo. That of one that gave no answer is 0."""
    return 400 <= status < 500 and status not in _PASSING


def may_pass(error: ClientError) -> bool:
    """Whether the same request may be answered later: the endpoint or AWS has failed, and the photo was not refused.

    A container gives no answer where it takes longer than 60 seconds, or ends.
    """
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ModelError":
        original: Any = error.response.get("OriginalStatusCode", 0)
        return not is_refusal(original)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code in _BUSY_CODES or status in _PASSING or status >= 500


def problem_of(error: ClientError) -> CountError:
    """A refusal by the endpoint, or by AWS before it."""
    code = error.response.get("Error", {}).get("Code", "")
    said: Any = error.response.get("OriginalMessage", "")
    try:
        refusal = json.loads(said)["error"]
        return CountError(str(refusal["reason"]), str(refusal["message"]))
    except (ValueError, TypeError, KeyError):
        return CountError("busy" if may_pass(error) else code or "unknown", str(error))
