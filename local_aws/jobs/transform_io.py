"""The requests that a transform job makes of an object, within its limits, and the object made of the answers."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import urllib3

from local_aws.core.protocol import Document
from local_aws.hosting.fleet import Fleet

_DEFAULT_MEGABYTES = 6
_DEFAULT_TIMEOUT = 600
_DEFAULT_RETRIES = 3
_STRATEGIES = {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}
_ASK_SECONDS = 4.0


@dataclass(frozen=True)
class Limits:
    """The limits of one job.

    Args:
        concurrent: requests to one instance at once.
        payload_bytes: the largest request.
        single_record: one record a request instead of as many as fit.
        timeout: seconds for one answer.
        retries: how often a request is repeated.
    """

    concurrent: int
    payload_bytes: int
    single_record: bool
    timeout: float
    retries: int

    @classmethod
    def of(cls, job: Document, fleet: Fleet) -> Limits:
        """What the request leaves open is asked of a server (`/execution-parameters`), which need not answer."""
        own = _execution_parameters(fleet)
        client = job.get("ModelClientConfig", {})
        strategy = job.get("BatchStrategy") or _STRATEGIES.get(str(own.get("BatchStrategy")), "MultiRecord")
        megabytes = job.get("MaxPayloadInMB", _number(own.get("MaxPayloadInMB"), _DEFAULT_MEGABYTES))
        return cls(
            concurrent=max(1, job.get("MaxConcurrentTransforms") or _number(own.get("MaxConcurrentTransforms"), 1)),
            payload_bytes=(megabytes or _DEFAULT_MEGABYTES) << 20,
            single_record=strategy == "SingleRecord",
            timeout=float(client.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT)),
            retries=client.get("InvocationsMaxRetries", _DEFAULT_RETRIES),
        )


class BadInput(Exception):
    """An object cannot be cut into requests; the message says why."""


def payloads(body: Any, source: Document, limits: Limits) -> Iterator[bytes]:
    """The requests that an object makes, as TransformInput (`source`) says. Raises `BadInput`.

    Args:
        body: the object, readable.
        source: TransformInput: SplitType, CompressionType.
        limits: bytes a request, and whether records are sent one by one.
    """
    try:
        if source.get("CompressionType", "None") == "Gzip":
            body = gzip.GzipFile(fileobj=io.BytesIO(body.read()))
        if source.get("SplitType", "None") == "None":
            yield _whole(body, limits)
        else:
            yield from _lines(io.BufferedReader(cast(Any, _Raw(body))), limits)
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadInput(f"it is not a gzip file: {error}") from error


def assembled(answers: Iterable[bytes], assemble_with: str) -> Iterator[bytes]:
    """The output of one object: answers as they are (`None`), or each on a line of its own (`Line`)."""
    for answer in answers:
        yield answer
        if assemble_with == "Line" and not answer.endswith(b"\n"):
            yield b"\n"


class _Raw(io.RawIOBase):
    """A body of S3 as a file, so that lines of any length are read piece by piece."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._body.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _whole(body: Any, limits: Limits) -> bytes:
    data: bytes = body.read(limits.payload_bytes + 1)
    if len(data) > limits.payload_bytes:
        raise BadInput(f"it has more than MaxPayloadInMB ({limits.payload_bytes >> 20} MB) and SplitType is None")
    return data


def _lines(stream: io.BufferedReader, limits: Limits) -> Iterator[bytes]:
    gathered = bytearray()
    while line := stream.readline(limits.payload_bytes + 1):
        if len(line) > limits.payload_bytes:
            raise BadInput(f"a line has more than MaxPayloadInMB ({limits.payload_bytes >> 20} MB)")
        if gathered and (limits.single_record or len(gathered) + len(line) > limits.payload_bytes):
            yield bytes(gathered)
            gathered.clear()
        gathered += line
    if gathered:
        yield bytes(gathered)


def _execution_parameters(fleet: Fleet) -> Document:
    instance = fleet.take()
    if instance is None:
        return {}
    try:
        url = f"http://127.0.0.1:{instance.port}/execution-parameters"
        response = urllib3.request("GET", url, timeout=_ASK_SECONDS, retries=False)
        document = json.loads(response.data) if response.status == 200 else {}
    except (urllib3.exceptions.HTTPError, ValueError):
        return {}
    finally:
        instance.release()
    return document if isinstance(document, dict) else {}


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
