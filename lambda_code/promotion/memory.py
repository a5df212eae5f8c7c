"""What function `reconcile` remembers between two calls, as small objects in the data bucket.

Requests to turn the endpoint on or off wait here while the stack is busy. The last decision and the messages that were
sent are kept too, so that nothing is decided or sent again.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from functions.aws import client, read_object

Parsed = TypeVar("Parsed")
PREFIX = "endpoint"
_REQUESTS = f"{PREFIX}/requests/"
_DECIDED = f"{PREFIX}/decided.json"


@dataclass(frozen=True)
class SwitchRequest:
    """A request to turn the endpoint on or off."""

    state: str
    by: str
    at: datetime.datetime
    """When it was made; of a schedule, the time that the schedule names."""
    key: str
    scheduled: bool = False
    """Whether a schedule made it. EventBridge delivers it at least once, so it can come again, hours later."""

    def follows(self, last: datetime.datetime | None) -> bool:
        """Whether it is later than `last`, the latest request or approval that was decided; None: there is none.

        A person who finds that another call has decided the request still gets its answer, so an equal time counts.
        """
        if last is None or self.at > last:
            return True
        return self.at == last and not self.scheduled


@dataclass(frozen=True)
class Decided:
    """The last decision about one serving stack; a new stack starts without one."""

    stack: str
    version: int | None = None
    """The newest approved version at the last decision."""
    sent: tuple[str, ...] = ()
    """Keys of the messages that were sent about lasting states."""
    switched: datetime.datetime | None = None
    """Time of the latest request or approval that was decided; None before the first."""


@dataclass(frozen=True)
class Memory:
    """The objects of one environment."""

    bucket: str
    unreadable: dict[str, str] = field(default_factory=dict)
    """Objects that hold no request or no decision, by their keys, with the reason; they are passed over.

    Somebody else has written them: to fail at one would keep the endpoint from every change until it is deleted.
    """

    def add(self, state: str, by: str, at: str = "") -> SwitchRequest:
        """Keeps a request until it is decided; returns it.

        Args:
            at: the time that a schedule names, in ISO 8601 with its zone; empty for a request that is made now.

        Raises:
            ValueError: the state is neither `on` nor `off`, or the time is none.
        """
        if state not in {"on", "off"}:
            raise ValueError(f"the endpoint is turned on or off, not {state!r}")
        made = _moment(at) if at else datetime.datetime.now(datetime.UTC)
        # Keys sort by time, and no request overwrites another.
        key = f"{_REQUESTS}{made:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json"
        self._put(key, {"state": state, "by": by, "at": made.isoformat(), "scheduled": bool(at)})
        return SwitchRequest(state, by, made, key, bool(at))

    def requests(self) -> list[SwitchRequest]:
        """Requests that wait, the latest last."""
        s3 = client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=_REQUESTS)
        keys = sorted(item["Key"] for page in pages for item in page.get("Contents", []))
        # A console makes a folder as an object without content.
        found = (self._read(key, partial(_request, key)) for key in keys if not key.endswith("/"))
        return [request for request in found if request is not None]

    def forget(self, requests: Iterable[SwitchRequest]) -> None:
        """Deletes requests that are decided."""
        for request in requests:
            client("s3").delete_object(Bucket=self.bucket, Key=request.key)

    def decided(self, stack: str) -> Decided:
        """The last decision about the stack with this id."""
        found = self._read(_DECIDED, _decided)
        return found if found is not None and found.stack == stack else Decided(stack)

    def keep(self, decided: Decided) -> Decided:
        """Stores a decision, unless it is stored already; returns it."""
        if decided != self.decided(decided.stack):
            switched = decided.switched.isoformat() if decided.switched else None
            self._put(_DECIDED, {**asdict(decided), "switched": switched})
        return decided

    def _put(self, key: str, body: dict[str, Any]) -> None:
        client("s3").put_object(Bucket=self.bucket, Key=key, Body=json.dumps(body).encode())

    def _read(self, key: str, parse: Callable[[Any], Parsed]) -> Parsed | None:
        """The object; None where there is none, or where it is noted as unreadable."""
        try:
            text = read_object(f"s3://{self.bucket}/{key}")
        except ClientError as error:
            # Nothing was decided yet, or a person has deleted it since it was listed.
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        try:
            return parse(json.loads(text))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.unreadable[key] = f"{type(error).__name__}: {error}"[:200]
            return None


def _request(key: str, body: Any) -> SwitchRequest:
    if body["state"] not in {"on", "off"}:
        raise ValueError(f"the state is {body['state']!r}")
    # A request that waits while the function is updated was kept by the version before, without `scheduled`.
    return SwitchRequest(body["state"], str(body["by"]), _moment(body["at"]), key, bool(body.get("scheduled", False)))


def _decided(body: Any) -> Decided:
    switched = body.get("switched")
    version = None if body["version"] is None else int(body["version"])
    return Decided(body["stack"], version, tuple(body["sent"]), _moment(switched) if switched else None)


def _moment(text: str) -> datetime.datetime:
    """A time with its zone, in UTC."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"the time of a request is like 2026-11-30T07:00:00Z, not {text!r}")
    return found.astimezone(datetime.UTC)
