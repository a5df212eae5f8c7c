"""How a running transform job is followed: its answers are counted, but not all the time."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from binventory.batch import transform
from binventory.batch.site import Site
from binventory.batch.transform import TransformBatch
from tests.conftest import NAMES

LISTING_SECONDS = 2.0
JOB_SECONDS = 300.0


class Account:
    """SageMaker and S3 on a clock of their own: a job that runs for a while, and slow listings of its answers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.listings = 0
        self.is_local = True
        self.asked = 0

    def client(self, service: str) -> Any:
        return self

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def describe_transform_job(self, TransformJobName: str) -> dict[str, Any]:
        self.asked += 1
        return {"TransformJobStatus": "InProgress" if self.now < JOB_SECONDS else "Completed"}

    def get_paginator(self, name: str) -> Account:
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.listings += 1
        self.now += LISTING_SECONDS
        yield {"Contents": [{"Key": f"batch/{number}.jpg.out"} for number in range(int(min(self.now, JOB_SECONDS)))]}


def test_counting_the_answers_of_a_running_job_takes_a_small_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = Account()
    monkeypatch.setattr(transform, "time", SimpleNamespace(monotonic=account.monotonic, sleep=account.sleep))
    site = Site(NAMES, "arn:role", "s3://data/batch/", "ml.m5.large", 1, ("s3://bins/",), "arn:package")
    aws: Any = account
    heard: list[int] = []
    batch = TransformBatch(aws, site, "audit")
    batch._wait("job", 300, lambda name, done: heard.append(done))
    assert heard[-1] == 300 and heard == sorted(heard)
    # Two of the listings are after the job: how many answers there are, and that there are any.
    running = account.listings - 2
    assert running >= 5 and running * LISTING_SECONDS <= JOB_SECONDS / 10
    assert account.asked > 10 * running, "the end of the job is noticed at once"
