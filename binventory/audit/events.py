"""Sends one EventBridge event for each disagreement; nothing is sent unless a bus is named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from binventory.audit.database import AuditDatabase, Disagreement, Filters
from binventory.audit.model import AuditModel
from binventory.audit.outputs import Origin, to_json
from binventory.core.aws import DENIED, Aws, error_code
from binventory.core.errors import Exit, Problem
from binventory.core.words import counted

SOURCE: Final = "binventory.audit"
DETAIL_TYPE: Final = "Recorded Quantity Disagreement"
SCHEMA: Final = 1
_ENTRIES_AT_ONCE: Final = 10
_BYTES_AT_ONCE: Final = 256 * 1024
"""Of all entries of a request together; EventBridge takes less than this."""
_MAX_LINES: Final = 20
"""SKUs an event carries: the largest quantities first; with bounded names one event stays below EventBridge's limit."""
_PASSING: Final = frozenset({"ThrottlingException", "InternalFailure", "InternalException"})
"""Codes of a refused entry that is to be sent again; boto3 repeats whole requests only."""
_NO_BUS: Final = frozenset({"ResourceNotFoundException", "ValidationException"})
_PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds before each repetition."""


@dataclass(frozen=True)
class _Event:
    """An event that is to be sent."""

    image_id: str
    entry: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes, as EventBridge counts an entry."""
        counts = (self.entry[name] for name in ("Source", "DetailType", "Detail"))
        return sum(len(text.encode()) for text in counts)


def detail(found: Disagreement, *, audit: str, origin: Origin, model: AuditModel) -> dict[str, Any]:
    """The event's detail; docs/disagreement.schema.json describes it."""
    row = to_json(found, origin)
    return {
        "schema": SCHEMA,
        "audit": audit,
        "model_beats_majority": None if model.trust is None else model.trust.beats_majority,
        **row,
        "skus": row["skus"][:_MAX_LINES],
        "more_skus": max(0, len(row["skus"]) - _MAX_LINES),
    }


def require_bus(aws: Aws, bus: str) -> str:
    """Refuses a bus that does not exist: EventBridge takes events for it, calls them sent and drops them.

    Returns a sentence where it cannot be known: it is another account's, or may not be looked at; else "". Raises
    Problem.
    """
    if bus.startswith("arn:") and bus.split(":")[4] != aws.client("sts").get_caller_identity()["Account"]:
        return f"Whether the bus {bus} exists is not known: it is another account's. Events for no bus are dropped."
    try:
        aws.client("events").describe_event_bus(Name=bus.partition(":event-bus/")[2] or bus)
    except ClientError as error:
        if error_code(error) in DENIED:
            return (
                f"Whether the bus {bus} exists is not known: you may not look at it (events:DescribeEventBus). "
                "Events for no bus are dropped."
            )
        if error_code(error) not in _NO_BUS:
            raise
        raise Problem(
            f"There is no event bus {bus}",
            f"EventBridge has none of this name in {aws.region}, and drops the events that it is sent",
            "list them: aws events list-event-buses; or leave out --events",
            code=Exit.USAGE,
        ) from None
    return ""


def send_events(
    aws: Aws,
    bus: str,
    ledger: AuditDatabase,
    filters: Filters,
    *,
    audit: str,
    origin: Origin,
    model: AuditModel,
    on_sent: Callable[[int], None],
) -> int:
    """Send the listed bins that were not sent before; returns how many were sent.

    A batch is remembered once EventBridge has taken it, so a run that is interrupted and repeated sends a bin twice at
    most within one batch of ten. What a busy bus refuses is sent again. Raises Problem when it refuses for another
    reason, or too often.
    """

    def event(found: Disagreement) -> _Event:
        text = json.dumps(detail(found, audit=audit, origin=origin, model=model))
        entry = {"EventBusName": bus, "Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": text}
        return _Event(found.image_id, entry)

    sent = 0
    for batch in _batches(event(found) for found in ledger.unsent(filters)):
        for wait in (*_PAUSES, None):
            taken, refused = _put(aws, batch)
            ledger.mark_sent([each.image_id for each in taken])
            sent += len(taken)
            on_sent(len(taken))
            if not refused:
                break
            code, said = next(((code, said) for _, code, said in refused if code not in _PASSING), refused[0][1:])
            if wait is None or code not in _PASSING:
                raise Problem(
                    f"EventBridge refused {counted(len(refused), 'event')}",
                    f"{code}: {said}",
                    "run the same command again: it sends only what is missing",
                )
            time.sleep(wait)
            batch = [each for each, _, _ in refused]
    return sent


def _put(aws: Aws, batch: list[_Event]) -> tuple[list[_Event], list[tuple[_Event, str, str]]]:
    """Sends a batch in one request; returns what the bus has taken, and what it has not with code and reason."""
    reply = aws.client("events").put_events(Entries=[each.entry for each in batch])
    results = list(zip(batch, reply["Entries"], strict=True))
    taken = [each for each, result in results if "EventId" in result]
    refused = [
        (each, result.get("ErrorCode", "no code"), result.get("ErrorMessage", ""))
        for each, result in results
        if "EventId" not in result
    ]
    return taken, refused


def _batches(events: Iterable[_Event]) -> Iterator[list[_Event]]:
    """As many events at once as one request may hold, by number and bytes."""
    batch: list[_Event] = []
    size = 0
    for event in events:
        if batch and (len(batch) == _ENTRIES_AT_ONCE or size + event.size >= _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event.size
    if batch:
        yield batch
