"""One comparison at a time: calls of the function at once take turns.

Two at once would each decide by what was remembered before, and the later one would write over what the other has
decided: an endpoint that a person had just turned off would be turned on again. Reserved concurrency would prevent that
too, but an account with Lambda's quota of ten calls at once, as new ones have, may reserve none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import ClientError

from functions.aws import client, read_object
from promotion.memory import PREFIX
from stacks.names import RECONCILE_SECONDS

_TURN: Final = f"{PREFIX}/turn.json"
_PAUSE_SECONDS: Final = 0.2
WAIT_SECONDS: Final = 30.0
"""Less than the 60 seconds for which the command line waits for an answer, and a comparison takes one or two."""
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404"})
"""S3's codes where another call was first: it has its turn, or has just ended it."""


class TurnError(Exception):
    """Other calls had their turns for `WAIT_SECONDS`; nothing was compared."""


@contextmanager
def turn(bucket: str) -> Iterator[None]:
    """Waits until no other call compares, and keeps others waiting until the end of the block.

    A call that Lambda has ended keeps its turn until its time would have been over.

    Raises:
        TurnError: it was not this call's turn in time; Lambda tries an event again.
    """
    last = time.monotonic() + WAIT_SECONDS
    while not _take(bucket):
        if time.monotonic() > last:
            raise TurnError(f"other calls compare for {WAIT_SECONDS:.0f} seconds already: s3://{bucket}/{_TURN}")
        time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        client("s3").delete_object(Bucket=bucket, Key=_TURN)


def _take(bucket: str) -> bool:
    """Whether this call has its turn now. S3 creates the object, or replaces one whose time is over, for one call."""
    try:
        try:
            _put(bucket, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in _TAKEN:
                raise
            # Looked at before it is read: if another call replaces it meanwhile, this one's condition fails.
            tag = client("s3").head_object(Bucket=bucket, Key=_TURN)["ETag"]
            if _until(read_object(f"s3://{bucket}/{_TURN}")) > time.time():
                return False
            _put(bucket, IfMatch=tag)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _TAKEN:
            raise
        return False
    return True


def _put(bucket: str, **condition: str) -> None:
    body = json.dumps({"until": time.time() + RECONCILE_SECONDS})
    client("s3").put_object(Bucket=bucket, Key=_TURN, Body=body.encode(), **condition)


def _until(text: bytes) -> float:
    """When a turn is over, in seconds since 1970; 0 where somebody else has written the object."""
    try:
        return float(json.loads(text)["until"])
    except (KeyError, TypeError, ValueError):
        return 0.0
