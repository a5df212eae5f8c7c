"""What is answered instead of a count: to a whole request, or in the place of one photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_PHOTOS: Final = 64
"""Of one request."""


class RequestError(Exception):
    """A request that cannot be answered. `status` is the HTTP status, `reason` a stable code; the message has the cure.

    `headers` go out with the answer.
    """

    def __init__(self, status: int, reason: str, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)


def too_many_photos() -> RequestError:
    """The error for a request of more photos than are read."""
    return RequestError(413, "too_many_photos", f"more than {MAX_PHOTOS} photos; send at most {MAX_PHOTOS} a request")


@dataclass(frozen=True)
class Refusal:
    """Why one photo of a request has no answer; `reason` is a stable code."""

    reason: str
    message: str

    def as_error(self) -> RequestError:
        """The same as the answer to the whole request."""
        return RequestError(_STATUS.get(self.reason, 400), self.reason, self.message)


_STATUS = {"too_many_bytes": 413, "url": 415}
