"""Writes a list of bins to count from the events of `binventory audit --events`, as an inventory system would.

    python examples/count_list.py https://sqs.us-east-1.amazonaws.com/123456789012/counts count_list.csv

An EventBridge rule puts the events into an SQS queue; this takes them out and adds a line for each SKU of each bin. It
needs boto3 and credentials only. docs/disagreement.schema.json describes the events.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

SCHEMA = 1
COLUMNS = (
    "count", "bin", "sku", "name", "recorded", "bin_recorded", "bin_expected", "probability_of_record",
    "probability_wrong", "photo", "model_package",
)  # fmt: skip


class EventError(ValueError):
    """A message is no event that this program understands."""


def lines_of(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """One line for each SKU of the bin; one line without a SKU where its record names none, or
    more than the event holds. Raises EventError."""
    if detail.get("schema") != SCHEMA:
        raise EventError(f"its schema is {detail.get('schema')!r}, known is {SCHEMA}")
    try:
        bin_line = {
            "count": f"{detail['audit']}/{detail['image_id']}",
            "bin": detail["image_id"],
            "bin_recorded": detail["recorded"],
            "bin_expected": detail["expected_count"],
            "probability_of_record": detail["recorded_probability"],
            "probability_wrong": detail["wrong_probability"],
            "photo": detail["photo"],
            "model_package": detail["model_package"],
        }
        skus = detail["skus"] or [{"sku": "", "name": "", "quantity": detail["recorded"]}]
        lines = [{**bin_line, "sku": item["sku"], "name": item["name"], "recorded": item["quantity"]} for item in skus]
        if detail["more_skus"]:
            lines.append(
                {**bin_line, "sku": "", "name": f"{detail['more_skus']} more SKUs of this bin", "recorded": ""}
            )
        return lines
    except (KeyError, TypeError) as error:
        raise EventError(f"the field {error} is missing") from error


class ListError(ValueError):
    """The file is no list of this program."""


class CountList:
    """The list on disk. It holds each bin of an audit once, because a queue may deliver an event twice.

    Raises ListError where the file has other columns: its lines would stand under the names of others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()
        if path.exists() and path.stat().st_size:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = csv.DictReader(stream)
                if tuple(rows.fieldnames or ()) != COLUMNS:
                    raise ListError(f"{path} is no list of counts: its first line is not {','.join(COLUMNS)}")
                self._known = {row["count"] for row in rows}

    def add(self, detail: dict[str, Any]) -> bool:
        """Adds a bin; returns when it is on disk, with False where it was there already.

        Raises EventError, and OSError where it cannot be written: then nothing of it is in the list, so that it is
        added when its event comes again.
        """
        lines = lines_of(detail)
        if lines[0]["count"] in self._known:
            return False
        with self._path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                _write(file, _as_csv(lines, head=before == 0))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(before)
                raise
        self._known.add(lines[0]["count"])
        return True


def _as_csv(lines: list[dict[str, Any]], *, head: bool) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    if head:
        writer.writeheader()
    writer.writerows({name: inert(value) for name, value in line.items()} for line in lines)
    return text.getvalue().encode()


def _write(file: io.FileIO, data: bytes) -> None:
    """All of it: on a disk that is nearly full, one call writes a part."""
    while data:
        data = data[file.write(data) :]


def messages(sqs: Any, queue: str) -> Iterator[dict[str, Any]]:
    """The messages of a queue until it stays empty for two seconds."""
    while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=2).get("Messages"):
        yield from found


def main() -> int:
    """Empties the queue; 1 if messages were not understood. Those stay in the queue, for its dead-letter queue."""
    parser = argparse.ArgumentParser(description="Writes a list of bins to count from the events of an audit.")
    parser.add_argument("queue", help="URL of the SQS queue")
    parser.add_argument("list", type=Path, help="CSV file that gets the lines")
    arguments = parser.parse_args()
    try:
        counts = CountList(arguments.list)
    except ListError as error:
        parser.error(str(error))
    sqs = boto3.client("sqs", region_name=region_of(arguments.queue))
    added = again = untrusted = refused = 0
    for message in messages(sqs, arguments.queue):
        try:
            detail = json.loads(message["Body"])["detail"]
            if detail.get("model_beats_majority") is False:
                untrusted += 1
            elif counts.add(detail):
                added += 1
            else:
                again += 1
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"Message {message['MessageId']} is no event of an audit: {error}", file=sys.stderr)
            refused += 1
            continue
        # Only now: what is not on disk is delivered again.
        sqs.delete_message(QueueUrl=arguments.queue, ReceiptHandle=message["ReceiptHandle"])
    print(
        f"{added} bins to count, {again} known before, {untrusted} left out because their model is no better than the "
        f"majority, {refused} not understood"
    )
    return 1 if refused else 0


def region_of(queue: str) -> str | None:
    """The region in the URL of a queue, else that of AWS_REGION, which boto3 does not read; None: boto3 has its own."""
    found = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/", queue)
    return found[1] if found else os.environ.get("AWS_REGION") or None


def inert(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")) else value


if __name__ == "__main__":
    sys.exit(main())
