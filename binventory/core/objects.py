"""Objects of S3, read whole: what ends early or arrives changed is a fault of the transport, never an object's content.

boto3 asks S3 for the checksum that was stored with an object, and compares it once the body has been read to its end.
Where S3 names the object's MD5, that is compared as well. An object with neither is as safe as TLS makes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from botocore.exceptions import BotoCoreError

from binventory.core.contents import bucket_and_key, mismatch
from binventory.core.errors import Problem

_ATTEMPTS: Final = 6
PAUSE: Final = 0.1
"""Seconds before the second attempt; doubles each time."""


def read_at(s3: Any, uri: str) -> bytes:
    """The object at an s3:// address, read with the client of S3 as `read_whole` does."""
    bucket, key = bucket_and_key(uri)
    return read_whole(partial(s3.get_object, Bucket=bucket, Key=key), uri)


def read_whole(get: Callable[[], Any], what: str, *, most: int | None = None, pause: float = PAUSE) -> bytes:
    """The body of the object that `get` requests, its first `most` bytes at most; requested again where it is damaged.

    Raises ClientError as `get` does, and Problem when the bytes never arrive.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            reply = get()
            data, why = _body(reply, most)
        except (BotoCoreError, OSError) as error:
            why = str(error)[:200]
            continue
        if why:
            continue
        whole = most is None or len(data) < most
        why = mismatch(reply, data) if whole else ""
        if not why:
            return data
    raise Problem(
        f"{what} was not read",
        f"it was requested {_ATTEMPTS} times, last: {why}",
        "check the network, then run the same command again: it continues where it stopped",
    )


def _body(reply: Any, most: int | None) -> tuple[bytes, str]:
    """The body's first bytes, and what is wrong with their number. Raises BotoCoreError for another checksum."""
    length = int(reply["ContentLength"])
    wanted = length if most is None else min(length, most)
    body: Any = reply["Body"]
    with body:
        data = bytes(body.read(wanted))
        if len(data) == length:
            body.read()  # boto3 compares checksums when there is nothing left
    return data, "" if len(data) == wanted else f"{len(data)} of {wanted} bytes arrived"
