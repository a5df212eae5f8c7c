"""What function `reconcile` remembers between two calls, as small objects in the data bucket.

Requests to turn the endpoint on or off wait here while the stack is busy. The last decision and the messages that were
sent are kept too, so that nothing is decided or sent again.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from botocore.exceptions import ClientError

from functions.aws import client, read_object

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
        found = [(key, self._get(key)) for key in keys]
        return [
            # A request that waits while the function is updated was kept by the version before, without `scheduled`.
            SwitchRequest(body["state"], body["by"], _moment(body["at"]), key, body.get("scheduled", False))
            for key, body in found
            if body is not None
        ]

    def forget(self, requests: Iterable[SwitchRequest]) -> None:
        """Deletes requests that are decided."""
        for request in requests:
            client("s3").delete_object(Bucket=self.bucket, Key=request.key)

    def decided(self, stack: str) -> Decided:
        """The last decision about the stack with this id."""
        body = self._get(_DECIDED)
        if body is None or body["stack"] != stack:
            return Decided(stack)
        switched = body.get("switched")
        return Decided(stack, body["version"], tuple(body["sent"]), _moment(switched) if switched else None)

    def keep(self, decided: Decided) -> Decided:
        """Stores a decision, unless it is stored already; returns it."""
        if decided != self.decided(decided.stack):
            switched = decided.switched.isoformat() if decided.switched else None
            self._put(_DECIDED, {**asdict(decided), "switched": switched})
        return decided

    def _put(self, key: str, body: dict[str, Any]) -> None:
        client("s3").put_object(Bucket=self.bucket, Key=key, Body=json.dumps(body).encode())

    def _get(self, key: str) -> Any:
        try:
            return json.loads(read_object(f"s3://{self.bucket}/{key}"))
        except ClientError as error:
            # Another call has decided it meanwhile.
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise


def _moment(text: str) -> datetime.datetime:
    """A time with its zone, in UTC."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"the time of a request is like 2026-11-30T07:00:00Z, not {text!r}")
    return found.astimezone(datetime.UTC)
