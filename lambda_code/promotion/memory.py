"""What function `reconcile` remembers between two calls, as small objects in the data bucket.

Requests to turn the endpoint on or off wait here while the stack is busy. The last decision and the messages that were
sent are kept too, so that nothing is decided or sent twice.
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
    key: str


@dataclass(frozen=True)
class Decided:
    """The last decision about one serving stack; a new stack starts without one."""

    stack: str
    version: int | None = None
    """The newest approved version at the last decision."""
    sent: tuple[str, ...] = ()
    """Keys of the messages that were sent about lasting states."""


@dataclass(frozen=True)
class Memory:
    """The objects of one environment."""

    bucket: str

    def add(self, state: str, by: str) -> SwitchRequest:
        """Keeps a request until it is decided; returns it.

        Raises:
            ValueError: the state is neither `on` nor `off`.
        """
        if state not in {"on", "off"}:
            raise ValueError(f"the endpoint is turned on or off, not {state!r}")
        now = datetime.datetime.now(datetime.UTC)
        # Keys sort by time, and no request overwrites another.
        key = f"{_REQUESTS}{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json"
        self._put(key, {"state": state, "by": by, "at": now.isoformat()})
        return SwitchRequest(state, by, now, key)

    def requests(self) -> list[SwitchRequest]:
        """Requests that wait, the latest last."""
        s3 = client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=_REQUESTS)
        keys = sorted(item["Key"] for page in pages for item in page.get("Contents", []))
        found = [(key, self._get(key)) for key in keys]
        return [
            SwitchRequest(body["state"], body["by"], datetime.datetime.fromisoformat(body["at"]), key)
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
        return Decided(stack, body["version"], tuple(body["sent"]))

    def keep(self, decided: Decided) -> Decided:
        """Stores a decision, unless it is stored already; returns it."""
        if decided != self.decided(decided.stack):
            self._put(_DECIDED, asdict(decided))
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
