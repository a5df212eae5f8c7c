"""How a running transform job is followed: its answers are counted, but not all the time."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory.batch import transform
from binventory.batch.site import Site
from binventory.batch.transform import Photos, TransformBatch
from binventory.cli import run
from binventory.core.errors import Exit, Problem
from tests.conftest import NAMES

SITE = Site(NAMES, "arn:role", "s3://data/batch/", "ml.m5.large", 1, ("s3://bins/",), "arn:package")
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
    aws: Any = account
    heard: list[int] = []
    batch = TransformBatch(aws, SITE, "audit")
    batch._wait("job", 300, lambda name, done: heard.append(done))
    assert heard[-1] == 300 and heard == sorted(heard)
    # Two of the listings are after the job: how many answers there are, and that there are any.
    running = account.listings - 2
    assert running >= 5 and running * LISTING_SECONDS <= JOB_SECONDS / 10
    assert account.asked > 10 * running, "the end of the job is noticed at once"


class Endless(Account):
    """One whose job runs until it is asked to stop; with `deaf` it does not end even then."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        self.deaf = deaf
        self.status = ""
        self.calls: list[str] = []

    def describe_transform_job(self, TransformJobName: str) -> dict[str, Any]:
        if not self.status:
            raise ClientError({"Error": {"Code": "ValidationException"}}, "DescribeTransformJob")
        return {"TransformJobStatus": self.status}

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.now += LISTING_SECONDS
        yield {}

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> dict[str, Any]:
            self.calls.append(name)
            if name == "create_transform_job":
                self.status = "InProgress"
            if name == "stop_transform_job":
                self.status = "Stopping" if self.deaf else "Stopped"
            return {}

        return call


def test_a_job_that_does_not_end_is_stopped_at_its_limit_and_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """SageMaker itself would let it run, and bill."""
    account = Endless()
    monkeypatch.setattr(transform, "time", SimpleNamespace(monotonic=account.monotonic, sleep=account.sleep))
    aws: Any = account
    halted: list[bool] = []
    batch = TransformBatch(aws, SITE, "audit", halted=lambda name, ended: halted.append(ended))
    with (
        pytest.raises(Problem, match="was stopped: it was still running after 30 minutes") as caught,
        batch.answers(Photos("s3://bins/", ["a.jpg"])),
    ):
        raise AssertionError("there are no answers")
    assert "/aws/sagemaker/TransformJobs" in caught.value.cure and "run the same command again" in caught.value.cure
    assert account.calls[-3:] == ["stop_transform_job", "delete_model", "delete_objects"]
    assert halted == [False, True]


def test_a_job_that_goes_on_stopping_is_said_to_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Endless(deaf=True)
    monkeypatch.setattr(transform, "time", SimpleNamespace(monotonic=account.monotonic, sleep=account.sleep))
    aws: Any = account
    with pytest.raises(Problem, match="has not stopped yet: it is Stopping, and may still bill") as caught:
        list(transform.stop(aws, NAMES, "binventory-dev-count-0123456789ab-1"))
    assert caught.value.cure == "stop it again: binventory stop binventory-dev-count-0123456789ab-1 --env dev"
    assert account.calls == ["stop_transform_job"]


def test_a_serving_stack_of_an_earlier_version_says_that_it_must_be_deployed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account = Endless()
    monkeypatch.setattr("binventory.cli.count.connect", lambda environment: account)
    outputs = [{"OutputKey": "EndpointName", "OutputValue": "binventory-dev"}]
    monkeypatch.setattr(account, "describe_stacks", lambda **_: {"Stacks": [{"Outputs": outputs}]})
    assert run(["count", "s3://bins/"]) == Exit.NOT_READY
    what, why, cure = capsys.readouterr().err.splitlines()
    assert what == "The stack binventory-dev-serving knows no transform jobs." and "older version" in why
    assert "npx cdk deploy" in cure and account.calls == []
