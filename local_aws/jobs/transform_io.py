"""An object's bytes as requests, and answers as an object's bytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator
from typing import Any, cast

from local_aws.core.wire import Document
from local_aws.jobs.transform_limits import Limits


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
