"""Objects of S3, read whole: a connection that ends early is a fault of the transport, never an object's content."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import BotoCoreError

from binventory.core.errors import Problem

_ATTEMPTS: Final = 6
PAUSE: Final = 0.1
"""Seconds before the second attempt; doubles each time."""


def read_whole(get: Callable[[], Any], what: str, *, most: int | None = None, pause: float = PAUSE) -> bytes:
    """The body of the object that `get` requests, its first `most` bytes at most; requested again where it is cut.

    Raises ClientError as `get` does, and Problem when the bytes never arrive.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            reply = get()
            length = int(reply["ContentLength"])
            wanted = length if most is None else min(length, most)
            body: Any = reply["Body"]
            with body:
                data = bytes(body.read(wanted))
            if len(data) == wanted:
                return data
            why = f"{len(data)} of {wanted} bytes arrived"
        except (BotoCoreError, OSError) as error:
            why = str(error)[:200]
    raise Problem(
        f"{what} was not read",
        f"it was requested {_ATTEMPTS} times, last: {why}",
        "check the network, then run the same command again: it continues where it stopped",
    )
