"""A promotion or a switch that does not come about: why, what it left, and what to do; nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from binventory import serving
from binventory.cli import run
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.serving import reconciling
from binventory.serving.endpoint import EndpointState
from binventory.serving.reconciling import Comparison
from binventory.serving.registry import JudgedPackage
from tests.conftest import NAMES

PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/binventory-dev/{}"
SESSION = boto3.Session("key", "secret", region_name="us-east-1")
AWS = Aws(SESSION)


def refused(code: str) -> Callable[..., Comparison]:
    def compare(*_: object, **__: object) -> Comparison:
        raise ClientError({"Error": {"Code": code, "Message": "you may not"}}, "Invoke")

    return compare


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the account says in every look: the endpoint, the approved package 1, and the answer of the function."""

    def says(serves: int, *, stack: str = "UPDATE_COMPLETE", answer: Comparison | Callable[..., Any]) -> None:
        state = EndpointState("binventory-dev", stack, True, PACKAGE.format(serves) if serves else "", "InService", 1)
        judged = JudgedPackage(PACKAGE.format(1), "Approved", "", "")
        monkeypatch.setattr(reconciling, "stack_events", lambda *_: iter(()))
        monkeypatch.setattr(reconciling, "endpoint_state", lambda *_: state)
        monkeypatch.setattr(reconciling, "describe_package", lambda *_: judged)
        monkeypatch.setattr(reconciling, "compare", answer if callable(answer) else lambda *_, **__: answer)
        monkeypatch.setattr(reconciling, "_ASK_EVERY_SECONDS", -1.0)

    return says


def follow(timeout: float = 60.0) -> Problem:
    with pytest.raises(Problem, match="was not promoted to the endpoint binventory-dev") as caught:
        list(serving.follow_promotion(AWS, NAMES, PACKAGE.format(1), timeout))
    return caught.value


def test_a_newer_version_that_serves_ends_the_wait(account: Callable[..., None]) -> None:
    account(serves=2, answer=Comparison("left", ""))
    assert follow().why == f"{PACKAGE.format(2)} was approved as well, is newer, and serves"


def test_a_promotion_that_is_held_says_why(account: Callable[..., None]) -> None:
    account(serves=0, answer=Comparison("held", "100 of 100 USD are spent: the endpoint stays off"))
    problem = follow()
    assert "100 USD are spent" in problem.why and "endpoint on" in problem.cure


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ("UPDATE_COMPLETE", "(stack UPDATE_COMPLETE, endpoint InService, serving nothing)"),
        ("UPDATE_IN_PROGRESS", "the request waits until the stack's change has ended"),
    ],
)
def test_the_wait_ends_when_its_time_is_up(stack: str, said: str, account: Callable[..., None]) -> None:
    """Also for a person who may approve, and may not call the function: events call it too."""
    account(serves=0, stack=stack, answer=refused("AccessDeniedException"))
    problem = follow(timeout=-1)
    assert "it did not happen within -1 s" in problem.why and said in problem.why
    assert "/aws/lambda/" in problem.cure


@pytest.mark.parametrize(("aws", "seconds"), [(AWS, 5.0), (Aws(SESSION, "http://localhost:4566"), 0.5)])
def test_an_account_is_looked_at_every_five_seconds(
    aws: Aws, seconds: float, account: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFormation throttles those who ask it twice a second."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        account(serves=1, answer=Comparison("left", ""))

    monkeypatch.setattr("binventory.serving.reconciling.time.sleep", pause)
    account(serves=0, answer=Comparison("busy", "an update is in progress"))
    list(serving.follow_promotion(aws, NAMES, PACKAGE.format(1), timeout=60))
    assert pauses == [seconds]


def test_a_switch_that_does_not_come_about_says_how_the_stack_stands(account: Callable[..., None]) -> None:
    account(serves=1, answer=Comparison("busy", "an update is in progress"))
    with pytest.raises(Problem, match="The endpoint binventory-dev was not turned off: it did not happen") as caught:
        list(serving.follow_switch(AWS, NAMES, "off", timeout=-1))
    assert "describe-stack-events --stack-name binventory-dev-serving" in caught.value.cure


def test_what_else_aws_refuses_ends_the_wait_at_once(account: Callable[..., None]) -> None:
    account(serves=0, answer=refused("ExpiredTokenException"))
    with pytest.raises(ClientError, match="you may not"):
        list(serving.follow_promotion(AWS, NAMES, PACKAGE.format(1), timeout=60))


@pytest.mark.parametrize(("code", "raises"), [("AccessDeniedException", False), ("ThrottlingException", True)])
def test_a_request_that_may_not_be_made_is_left_to_events(
    code: str, raises: bool, account: Callable[..., None]
) -> None:
    account(serves=0, answer=refused(code))
    if raises:
        with pytest.raises(ClientError, match="you may not"):
            serving.request_on(AWS, NAMES, "a test")
    else:
        assert serving.request_on(AWS, NAMES, "a test") is None


@pytest.mark.parametrize("flags", [[], ["--yes"], ["--dry-run"]])
def test_an_endpoint_without_an_approved_model_is_not_turned_on(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = EndpointState("binventory-dev", "CREATE_COMPLETE", False, "", "absent", 0)
    monkeypatch.setattr("binventory.cli.endpoint.connect", lambda environment: AWS)
    monkeypatch.setattr(serving, "endpoint_state", lambda *_: state)
    monkeypatch.setattr(serving, "newer_than", lambda *_: ())
    monkeypatch.setattr(serving, "follow_switch", pytest.fail)
    assert run(["endpoint", "on", *flags]) == Exit.NOT_READY
    what, why, cure = capsys.readouterr().err.splitlines()
    assert what == "The endpoint binventory-dev cannot be turned on." and "no model has been approved yet" in why
    assert "binventory approve" in cure
