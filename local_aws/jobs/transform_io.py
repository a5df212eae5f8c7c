"""How a transform job cuts an object into requests, within its limits, and joins the responses."""

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
_PARAMETERS_SECONDS = 4.0


@dataclass(frozen=True)
class TransformLimits:
    """The limits of one job.

    Args:
        concurrent: requests to one instance at once.
        payload_bytes: the largest request.
        single_record: one record in a request instead of as many as fit.
        timeout: seconds for one response.
        retries: how often a request is repeated.
    """

    concurrent: int
    payload_bytes: int
    single_record: bool
    timeout: float
    retries: int

    @classmethod
    def of(cls, job: Document, fleet: Fleet) -> TransformLimits:
        """The limits of a job, where its request has none those of a server's `/execution-parameters`."""
        served = _execution_parameters(fleet)
        client = job.get("ModelClientConfig", {})
        strategy = job.get("BatchStrategy") or _STRATEGIES.get(str(served.get("BatchStrategy")), "MultiRecord")
        # A server that says 0 takes payloads of any size, and so one of the usual size.
        megabytes = job.get("MaxPayloadInMB") or _number(served.get("MaxPayloadInMB"), 0) or _DEFAULT_MEGABYTES
        return cls(
            concurrent=max(1, job.get("MaxConcurrentTransforms") or _number(served.get("MaxConcurrentTransforms"), 1)),
            payload_bytes=megabytes << 20,
            single_record=strategy == "SingleRecord",
            timeout=float(client.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT)),
            retries=client.get("InvocationsMaxRetries", _DEFAULT_RETRIES),
        )


class BadInput(Exception):
    """An object cannot be cut into requests; the message has the reason."""


def payloads(body: Any, source: Document, limits: TransformLimits) -> Iterator[bytes]:
    """The requests of an object, as TransformInput (`source`) describes them. Raises `BadInput`.

    Args:
        body: the object, open to read.
        source: TransformInput: SplitType, CompressionType.
        limits: of one request.
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


def assembled(responses: Iterable[bytes], assemble_with: str) -> Iterator[bytes]:
    """The output of one object: the responses as they are (`None`) or each on a separate line (`Line`)."""
    for response in responses:
        yield response
        if assemble_with == "Line" and not response.endswith(b"\n"):
            yield b"\n"


class _Raw(io.RawIOBase):
    """A body of S3 as a file, so that a line of any length is read in parts."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._body.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _whole(body: Any, limits: TransformLimits) -> bytes:
    data: bytes = body.read(limits.payload_bytes + 1)
    if len(data) > limits.payload_bytes:
        raise BadInput(f"it has more than MaxPayloadInMB ({limits.payload_bytes >> 20} MB) and SplitType is None")
    return data


def _lines(stream: io.BufferedReader, limits: TransformLimits) -> Iterator[bytes]:
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
        response = urllib3.request("GET", url, timeout=_PARAMETERS_SECONDS, retries=False)
        document = json.loads(response.data) if response.status == 200 else {}
    except (urllib3.exceptions.HTTPError, ValueError):
        return {}
    finally:
        instance.release()
    return document if isinstance(document, dict) else {}


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
