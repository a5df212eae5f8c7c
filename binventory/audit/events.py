"""Sends one EventBridge event for each disagreement; nothing is sent unless a bus is named."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from binventory.audit.database import AuditDatabase, Disagreement, Filters
from binventory.audit.model import AuditModel
from binventory.audit.outputs import Origin, to_json
from binventory.core.aws import Aws
from binventory.core.errors import Problem

SOURCE: Final = "binventory.audit"
DETAIL_TYPE: Final = "Recorded Quantity Disagreement"
SCHEMA: Final = 1
_ENTRIES_AT_ONCE: Final = 10
_MAX_LINES: Final = 20
"""SKUs an event carries: the largest quantities first; with bounded names it stays far below EventBridge's 256 KB."""


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


def send_events(
    aws: Aws,
    bus: str,
    ledger: AuditDatabase,
    filters: Filters,
    *,
    audit: str,
    origin: Origin,
    model: AuditModel,
    on_sent: Callable[[int], None] = lambda count: None,
) -> int:
    """Send the listed bins that were not sent before; returns how many were sent.

    A batch is remembered once EventBridge has taken it, so a run that is interrupted and repeated sends a bin twice at
    most within one batch of ten. Raises Problem when the bus refuses.
    """
    sent = 0
    for batch in _batches(ledger.unsent(filters)):
        entries = [
            {
                "EventBusName": bus,
                "Source": SOURCE,
                "DetailType": DETAIL_TYPE,
                "Detail": json.dumps(detail(found, audit=audit, origin=origin, model=model)),
            }
            for found in batch
        ]
        reply = aws.client("events").put_events(Entries=entries)
        results = zip(batch, reply["Entries"], strict=True)
        taken = [found.image_id for found, result in results if "ErrorCode" not in result]
        ledger.mark_sent(taken)
        sent += len(taken)
        on_sent(len(taken))
        failed = next((result for result in reply["Entries"] if "ErrorCode" in result), None)
        if failed is not None:
            raise Problem(
                f"EventBridge refused {len(batch) - len(taken)} events",
                f"{failed['ErrorCode']}: {failed.get('ErrorMessage', '')}",
                "run the same command again: it sends only what is missing",
            )
    return sent


def _batches(rows: Iterator[Disagreement]) -> Iterator[list[Disagreement]]:
    while batch := list(itertools.islice(rows, _ENTRIES_AT_ONCE)):
        yield batch
