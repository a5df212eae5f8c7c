"""The rehearsal's audit: counts the photos again by a transform job, and receives one event for each bin."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from binventory.audit import job
from binventory.audit.csv_records import Columns
from binventory.audit.events import DETAIL_TYPE, SOURCE
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.core.names import Names

_QUEUE = "rehearsed-audit"


@dataclass(frozen=True)
class Audited:
    """The audit's result for one photo, as its event brought it."""

    image_id: str
    recorded: int
    likely: int
    recorded_probability: float


@dataclass(frozen=True)
class Record:
    """One row of the table of records."""

    image_id: str
    count: int
    photo: str
    """Its key below the audited prefix."""


def audit(aws: Aws, names: Names, source: str, records: Sequence[Record], folder: Path) -> tuple[Audited, ...]:
    """Audits the photos of `records` below `source` by transform job; returns them as their events brought them.

    Raises Problem when an event is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "records.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", "count", "photo"])
        writer.writerows(map(astuple, records))
    queue = _create_queue(aws)
    try:
        request = job.Request(
            source,
            folder / "audit",
            records=table,
            columns=Columns(photo="photo"),
            batch=True,
            names=names,
            bus="default",
        )
        sent = job.run_audit(request, lambda: aws).events
        details = list(_received(aws, queue, sent))
    finally:
        _delete_queue(aws, queue)
    if len(details) < sent or sent != len(records):
        raise Problem(
            "Events of the audit are missing",
            f"{len(records)} bins were audited, {sent} events sent and {len(details)} received",
            "look at the local AWS's log: EventBridge delivers to SQS",
        )
    return tuple(
        Audited(found["image_id"], found["recorded"], found["likely"], found["recorded_probability"])
        for found in sorted(details, key=lambda found: int(found["rank"]))
    )


def _create_queue(aws: Aws) -> str:
    """Creates a queue behind an event rule, as an inventory system would have; returns the queue's URL."""
    sqs, events = aws.client("sqs"), aws.client("events")
    queue = str(sqs.create_queue(QueueName=_QUEUE)["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = events.put_rule(Name=_QUEUE, EventPattern=json.dumps({"source": [SOURCE], "detail-type": [DETAIL_TYPE]}))[
        "RuleArn"
    ]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
            }
        ],
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    events.put_targets(Rule=_QUEUE, Targets=[{"Id": "queue", "Arn": arn}])
    return queue


def _received(aws: Aws, queue: str, expected: int) -> Iterable[dict[str, Any]]:
    sqs = aws.client("sqs")
    left = expected
    while left > 0:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages", [])
        if not messages:
            return
        for message in messages:
            yield json.loads(message["Body"])["detail"]
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        left -= len(messages)


def _delete_queue(aws: Aws, queue: str) -> None:
    events = aws.client("events")
    events.remove_targets(Rule=_QUEUE, Ids=["queue"])
    events.delete_rule(Name=_QUEUE)
    aws.client("sqs").delete_queue(QueueUrl=queue)
