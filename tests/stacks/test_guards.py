"""The guards: the handler with a stack, a budget, an endpoint and metrics; it acts when it must and reports it."""

from __future__ import annotations

import datetime
import json
import uuid
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from functions.aws import stop_running
from stacks.names import command_of
from tests.contract.environment import processing
from tests.contract.jobs import until
from tests.contract.serving import ask
from tests.stacks.reconciled import LIMIT, Environment, Made
from tests.stacks.served import PIPELINE


@pytest.fixture
def environment(made: Made) -> Environment:
    """An environment that serves its first package."""
    one = made()
    one.approved()
    one.settle()
    return one


class Executions:
    """Three executions that are listed as running; the first one cannot be stopped."""

    def __init__(self, *, ends: bool) -> None:
        self.running = ["first", "second", "third"]
        self.asked: list[str] = []
        self._ends = ends

    def get_paginator(self, _: str) -> Executions:
        return self

    def paginate(self, **_: str) -> list[dict[str, list[dict[str, str]]]]:
        found = [{"PipelineExecutionArn": arn, "PipelineExecutionStatus": "Executing"} for arn in self.running]
        return [{"PipelineExecutionSummaries": found}]

    def stop_pipeline_execution(self, **request: str) -> None:
        arn = request["PipelineExecutionArn"]
        self.asked.append(arn)
        if arn == "first":
            if self._ends:
                self.running.remove(arn)
            raise ClientError({"Error": {"Code": "ConflictException", "Message": "it has ended"}}, "Stop")


@pytest.mark.parametrize("ends", [True, False], ids=["it has ended", "it runs on"])
def test_an_execution_that_cannot_be_stopped_keeps_no_other_running(
    monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    found = Executions(ends=ends)
    monkeypatch.setattr("functions.aws.client", lambda _: found)
    if ends:
        assert stop_running(["line"]) == 2
    else:
        with pytest.raises(ClientError, match="it has ended"):
            stop_running(["line"])
    assert found.asked == ["first", "second", "third"]


class TestBudgetGuard:
    """The cap."""

    def test_below_the_cap_an_alert_changes_nothing(self, environment: Environment) -> None:
        environment.spend(LIMIT * 0.99)
        assert environment.compare(Records=[])["outcome"] == "left"
        assert environment.asked[1] == "on"
        assert environment.alerts() == []

    def test_without_a_guard_nothing_is_capped(self, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
        environment.spend(LIMIT * 2)
        monkeypatch.setenv("GUARD_PERCENT", "0")
        assert environment.compare()["outcome"] == "left"

    def test_at_the_cap_the_endpoint_goes_off_with_one_alert(self, environment: Environment) -> None:
        package = environment.asked[0]
        environment.spend(LIMIT * 1.5)
        answer = environment.compare(Records=[])
        assert answer["outcome"] == "turned off"
        assert "75.00 of 50.00 USD (150%)" in answer["reason"]
        environment.settled()
        assert environment.asked == (package, "off")
        ((_, message),) = environment.alerts()
        assert "75.00 of 50.00 USD (150%)" in message
        assert message.endswith(command_of(environment.name, "endpoint on"))
        assert environment.compare()["outcome"] == "left"
        assert environment.alerts() == []

    def test_at_the_cap_the_endpoint_goes_first_and_running_executions_second(self, environment: Environment) -> None:
        aws = environment.aws
        body = {**PIPELINE, "Steps": [processing("Sleep", "sleep 300")]}
        aws("sagemaker").update_pipeline(PipelineName=environment.name, PipelineDefinition=json.dumps(body))
        arn = aws("sagemaker").start_pipeline_execution(PipelineName=environment.name)["PipelineExecutionArn"]
        steps = aws("sagemaker").list_pipeline_execution_steps

        def status() -> str:
            found = aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
            return str(found["PipelineExecutionStatus"])

        until(lambda: steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"])
        assert status() == "Executing"
        environment.spend(LIMIT)
        called: list[str] = []
        session = boto3.Session()
        session.events.register("before-call", lambda model, **_: called.append(model.name))
        boto3.DEFAULT_SESSION, before = session, boto3.DEFAULT_SESSION
        try:
            answer = environment.compare()
        finally:
            boto3.DEFAULT_SESSION = before
        assert answer["outcome"] == "turned off"
        assert "executions stopped: 1" in answer["reason"]
        assert called.index("UpdateStack") < called.index("StopPipelineExecution") < called.index("Publish")
        until(lambda: status() == "Stopped")
        ((_, message),) = environment.alerts()
        assert "The endpoint: turned off. Pipeline executions stopped: 1." in message
        # SageMaker makes one stop for each token: a person's retry would run on, and the guard say that it is stopped.
        environment.settle()
        aws("sagemaker").retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)
        until(lambda: steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"])
        assert status() == "Executing"
        assert "executions stopped: 1" in environment.compare(Records=[])["reason"]
        until(lambda: status() == "Stopped")

    def test_an_alert_in_the_middle_of_a_rollout_is_not_lost(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        one.approved(held=True)
        assert one.compare()["outcome"] == "promoting"
        one.spend(LIMIT)
        assert one.compare(Records=[])["outcome"] == "busy"
        one.release()
        assert one.settled() == "UPDATE_COMPLETE"
        assert one.compare(detail={})["outcome"] == "turned off", "one cycle after the stack is free"
        one.settle()
        assert (one.asked[1], one.serves()) == ("off", "")

    def test_nobody_turns_it_on_while_the_budget_is_spent(self, environment: Environment) -> None:
        environment.spend(LIMIT)
        environment.compare()
        environment.settle()
        environment.alerts()
        for by in ("a person", "the serving hours"):
            answer = environment.compare(endpoint="on", by=by)
            assert answer["outcome"] == "held"
            assert "50.00 of 50.00 USD (100%)" in answer["reason"]
        package = environment.approved()
        assert environment.compare()["outcome"] == "held"
        ((subject, message),) = environment.alerts()
        assert subject == f"{environment.name}: approved, not served"
        assert package in message and "50.00 of 50.00 USD" in message
        environment.spend(0)
        assert environment.compare() == {"outcome": "left", "reason": "the endpoint is off"}, "what it held stays off"
        assert environment.compare(endpoint="on")["outcome"] == "turned on"
        environment.settle()
        assert environment.serves() == package

    def test_an_environment_without_a_serving_stack_can_be_guarded(
        self, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SERVING_STACK", "there-is-none")
        environment.spend(LIMIT)
        assert environment.compare()["outcome"] == "left"


def look_back_to_its_start(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard looks as far back as the endpoint is old: old enough to go.

    It looks now and not when it is called, because a turn of the minute between would leave out a call.
    """
    changed = environment.aws("sagemaker").describe_endpoint(EndpointName=environment.name)["LastModifiedTime"]
    moment = datetime.datetime.now(datetime.UTC)

    class Now(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment

    clock = SimpleNamespace(datetime=Now, timedelta=datetime.timedelta, UTC=datetime.UTC)
    monkeypatch.setattr("promotion.idle_guard.datetime", clock)
    monkeypatch.setenv("IDLE_SECONDS", str((moment - changed).total_seconds()))


class TestIdleGuard:
    """An endpoint without calls."""

    def test_a_new_endpoint_gets_its_time(self, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IDLE_SECONDS", "3600")
        assert environment.compare()["outcome"] == "left"
        assert environment.asked[1] == "on"

    def test_a_busy_endpoint_stays_and_an_idle_one_goes(
        self, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(environment.aws, environment.name)
        dimensions = [{"Name": "EndpointName", "Value": environment.name}]
        called = {"Namespace": "AWS/SageMaker", "MetricName": "Invocations", "Dimensions": dimensions}
        until(lambda: environment.aws("cloudwatch").list_metrics(**called)["Metrics"])
        look_back_to_its_start(environment, monkeypatch)
        assert environment.compare()["outcome"] == "left"
        monkeypatch.setenv("VARIANT", "another")
        answer = environment.compare()
        assert (answer["outcome"], "had no invocation" in answer["reason"]) == ("turned off", True)
        environment.settle()
        assert environment.asked[1] == "off"
        ((subject, message),) = environment.alerts()
        assert subject == f"{environment.name}: idle, turned off"
        assert "had no invocation" in message and message.endswith(command_of(environment.name, "endpoint on"))
        assert environment.compare()["outcome"] == "left"

    def test_the_answers_of_an_asynchronous_endpoint_count(
        self, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It publishes no Invocations, as AWS's page on monitoring asynchronous endpoints says."""
        cloudwatch = environment.aws("cloudwatch")
        monkeypatch.setenv("VARIANT", "queued")
        names = {"EndpointName": environment.name, "VariantName": "queued"}
        took = {
            "MetricName": "ModelLatency",
            "Dimensions": [{"Name": name, "Value": value} for name, value in names.items()],
            "Value": 8000,
        }
        cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=[took])
        look_back_to_its_start(environment, monkeypatch)
        assert environment.compare()["outcome"] == "left"
        assert environment.asked[1] == "on"

    def test_an_approval_and_a_person_count_more(
        self, environment: Environment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IDLE_SECONDS", "0.1")
        assert environment.compare(endpoint="on")["outcome"] == "left"
        environment.approved()
        assert environment.compare()["outcome"] == "promoting"


class TestServingHours:
    """On and off by the clock."""

    def test_the_clock_turns_off_and_brings_the_same_model_back(self, environment: Environment) -> None:
        package = environment.asked[0]
        by = "the serving hours"
        assert environment.compare(endpoint="on", by=by)["outcome"] == "left"
        assert environment.compare(endpoint="off", by=by) == {"outcome": "turned off", "reason": by}
        environment.settle()
        assert environment.asked == (package, "off")
        assert environment.compare(endpoint="on", by=by)["outcome"] == "turned on"
        environment.settle()
        assert environment.asked == (package, "on")

    def test_the_clock_needs_a_model(self, made: Made) -> None:
        answer = made().compare(endpoint="on", by="the serving hours")
        assert answer == {"outcome": "held", "reason": "no model package is approved: the endpoint stays off"}

    def test_an_event_that_comes_again_undoes_nothing(self, environment: Environment) -> None:
        """EventBridge delivers at least once, and Lambda tries again for hours."""
        evening = {"endpoint": "off", "by": "the serving hours", "at": _now()}
        assert environment.compare(**evening)["outcome"] == "turned off"
        environment.settle()
        assert environment.compare(endpoint="on", by="Jo")["outcome"] == "turned on"
        environment.settle()
        again = environment.compare(**evening)
        assert again["outcome"] == "left" and "is older than what was decided since" in again["reason"]
        assert (environment.asked[1], environment.waiting()) == ("on", 0)
        next_evening = {**evening, "at": _now()}
        assert environment.compare(**next_evening) == {"outcome": "turned off", "reason": "the serving hours"}
        environment.settle()
        environment.approved()
        assert environment.compare()["outcome"] == "turned on", "an approval is as late as any other request"
        environment.settle()
        assert environment.compare(**next_evening)["outcome"] == "left"
        assert environment.asked[1] == "on"

    def test_an_event_that_comes_late_does_not_undo_what_a_person_has_switched_meanwhile(
        self, environment: Environment
    ) -> None:
        late = {"endpoint": "on", "by": "the serving hours", "at": _now()}
        assert environment.compare(endpoint="off", by="Jo")["outcome"] == "turned off"
        environment.settle()
        assert environment.compare(**late)["outcome"] == "left"
        assert environment.asked[1] == "off"

    @pytest.mark.parametrize("at", ["<aws.scheduler.scheduled-time>", "2026-11-30T07:00:00"])
    def test_a_time_that_is_none_is_refused(self, environment: Environment, at: str) -> None:
        with pytest.raises(ValueError, match="the time of a request is like 2026-11-30T07:00:00Z, not"):
            environment.compare(endpoint="on", by="the serving hours", at=at)
        assert environment.waiting() == 0


def _now() -> str:
    """The time as EventBridge Scheduler writes it, and parts of a second, so that a test need not wait for the next."""
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
