"""Changes of a stored resource while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.core.context import Context
from local_aws.core.record import Record
from local_aws.jobs.processing import PROCESSING_JOBS


class Heard(Record):
    """A record that keeps what it announces."""

    def __init__(self, context: Context, key: str) -> None:
        super().__init__(context, "Widget", key)
        self.announced: list[tuple[str | None, str]] = []

    def announce(self, document: dict[str, Any], previous: str | None) -> None:
        self.announced.append((previous, document["WidgetStatus"]))


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Heard]:
    """One stored resource that is InProgress."""
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1")
    context.table("Widget").put("one", {"WidgetStatus": "InProgress", "LastModifiedTime": 0.0, "Reason": "before"})
    yield Heard(context, "one")
    context.stop()


def test_a_change_is_stored_dated_and_announced(record: Heard) -> None:
    """Members first, then what the function alters; None leaves a member as it is."""
    assert record.change(lambda document: document.update(Count=1), WidgetStatus="Stopping", Reason=None)
    stored = record.read()
    assert (stored["WidgetStatus"], stored["Count"], stored["Reason"]) == ("Stopping", 1, "before")
    assert stored["LastModifiedTime"] > 0
    assert record.announced == [("InProgress", "Stopping")]


@pytest.mark.parametrize("only_from", ["Stopping", {"Stopping", "Completed"}, ()])
def test_a_change_from_another_status_does_nothing(record: Heard, only_from: Any) -> None:
    """Neither stored nor announced, and the caller learns it."""
    before = record.read()
    assert not record.change(only_from=only_from, WidgetStatus="Completed")
    assert record.read() == before and record.announced == []


def test_of_many_that_stop_one_does(record: Heard) -> None:
    """The check and the change are one transaction, with many threads as well."""
    changed: list[bool] = []
    threads = [
        threading.Thread(target=lambda: changed.append(record.change(only_from="InProgress", WidgetStatus="Stopping")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False] * 7 + [True]
    assert len(record.announced) == 1


def test_what_is_not_stored_cannot_change(record: Heard) -> None:
    """It names the resource."""
    gone = Heard(record._context, "two")
    with pytest.raises(KeyError, match="Widget two is not in the store"):
        gone.change(WidgetStatus="Stopped")
    with pytest.raises(KeyError, match="Widget two is not in the store"):
        gone.read()


def test_a_job_that_was_stopping_has_ended_after_a_restart(tmp_path: Path) -> None:
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1")
    jobs = context.table("ProcessingJob")
    arn = "arn:aws:sagemaker:us-east-1:123456789012:processing-job/cut"
    stopping = {"ProcessingJobName": "cut", "ProcessingJobArn": arn, "ProcessingJobStatus": "Stopping"}
    jobs.put("cut", {**stopping, "CreationTime": 0.0})
    PROCESSING_JOBS.resume(context)
    job = jobs.get("cut") or {}
    assert job["ProcessingJobStatus"] == "Stopped" and job["ProcessingEndTime"] == job["LastModifiedTime"] > 0
    context.stop()
