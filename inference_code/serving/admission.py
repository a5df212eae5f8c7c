"""Admission: limits on the requests, photos and bytes in memory. Beyond them requests get 503."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Final

from serving.refusals import RequestError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_MEBIBYTE: Final = 1024 * 1024
TRANSFORM_MEGABYTES: Final = 6
"""The largest request of a transform job."""
# SageMaker's bound for the requests of a transform job at once, each of the largest size:
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
_MOST_TRANSFORM_MEGABYTES: Final = 100
# As many as connections are held open.
_MOST_REQUESTS: Final = 1024


class Disconnected(Exception):
    """The client disconnected before its request was complete; no answer is sent."""


@dataclass(frozen=True)
class AdmissionLimits:
    """Limits of one request and of all requests together."""

    body_bytes: int = 25 * _MEBIBYTE
    body_seconds: float = 30.0
    answer_seconds: float = 50.0
    """From the body to the answer. SageMaker's caller waits 60 seconds."""
    requests: int = 64
    photos: int = 256
    bytes: int = 64 * _MEBIBYTE

    def __post_init__(self) -> None:
        for name in ("body_bytes", "body_seconds", "answer_seconds", "requests", "photos", "bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @classmethod
    def from_environment(cls) -> AdmissionLimits:
        """The defaults, with BINVENTORY_MAX_BODY_BYTES and BINVENTORY_MAX_REQUESTS where they are set.

        Raises ValueError, which names the variable.
        """
        default = cls()
        return cls(
            # A larger body would get 503 every time.
            body_bytes=whole_number("BINVENTORY_MAX_BODY_BYTES", default.body_bytes, most=default.bytes),
            requests=whole_number("BINVENTORY_MAX_REQUESTS", default.requests, most=_MOST_REQUESTS),
        )

    def transforms(self, cpus: int) -> int:
        """How many requests a transform job may send at once: two a processor, as far as SageMaker allows it."""
        return min(self.requests, 2 * cpus, _MOST_TRANSFORM_MEGABYTES // TRANSFORM_MEGABYTES)

    def in_transform_job(self, cpus: int) -> AdmissionLimits:
        """Limits that hold all of these requests: one that finds no room three times fails the job."""
        return replace(self, bytes=max(self.bytes, self.transforms(cpus) * TRANSFORM_MEGABYTES * _MEBIBYTE))


def whole_number(variable: str, default: int, *, most: int) -> int:
    """The value of an environment variable, from 1 to `most`. Raises ValueError, which names the variable."""
    value = os.environ.get(variable, str(default))
    if not value.isdecimal() or not 1 <= int(value) <= most:
        raise ValueError(f"{variable} must be a whole number from 1 to {most}, not {value!r}")
    return int(value)


def busy(what: str) -> RequestError:
    """The error for a request that finds so much waiting that it cannot be taken or answered now."""
    return RequestError(503, "busy", f"{what} are waiting; try again in a second", [("retry-after", "1")])


class Admission:
    """The requests, photos and bytes that are admitted now. Used from the event loop only."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self.requests = 0
        self.photos = 0
        self.bytes = 0

    def admit(self) -> Visit:
        """Admit a request. Raises RequestError (503) when the limit of requests is reached."""
        self.require_room()
        return Visit(self)

    def require_room(self) -> None:
        """Raises RequestError (503) when the limit of requests is reached."""
        if self.requests >= self.limits.requests:
            raise busy(f"{self.requests} requests")


class Visit:
    """The photos and bytes of one request, released at its end.

    It counts as a request from the moment when its body is there: clients that send slowly keep nobody out. From then
    on its time runs.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._requests = 0
        self._bytes = 0
        self._photos = 0
        self.until: float | None = None
        """When the answer must be there, on the event loop's clock; None while the body comes."""

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._admission.requests -= self._requests
        self._admission.bytes -= self._bytes
        self._admission.photos -= self._photos

    def hold_bytes(self, amount: int) -> None:
        """Count more bytes. Raises RequestError: 413 when this request is too large, 503 when all together are."""
        limits = self._admission.limits
        if self._bytes + amount > limits.body_bytes:
            raise RequestError(413, "too_many_bytes", f"the request may have at most {limits.body_bytes} bytes")
        if self._admission.bytes + amount > limits.bytes:
            raise busy(f"{self._admission.bytes} bytes")
        self._admission.bytes += amount
        self._bytes += amount

    def hold_photos(self, amount: int) -> None:
        """Count more photos. Raises RequestError (503) when all requests together have too many."""
        if self._admission.photos and self._admission.photos + amount > self._admission.limits.photos:
            raise busy(f"{self._admission.photos} photos")
        self._admission.photos += amount
        self._photos += amount

    async def read_body(self, receive: Receive, content_length: str) -> bytes:
        """The whole body, within the limits; from then on the request counts.

        Raises RequestError (408, 413, 503) and Disconnected.
        """
        if content_length.isdecimal() and int(content_length) > self._admission.limits.body_bytes:
            self.hold_bytes(int(content_length))
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._admission.limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    part = message.get("body", b"")
                    self.hold_bytes(len(part))
                    parts.append(part)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise RequestError(408, "slow", "the request's body did not arrive in time") from error
        self._admission.require_room()
        self._admission.requests += 1
        self._requests = 1
        self.until = asyncio.get_running_loop().time() + self._admission.limits.answer_seconds
        return parts[0] if len(parts) == 1 else b"".join(parts)
