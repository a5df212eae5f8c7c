"""The guards: real handlers on a real stack, budget, endpoint and metrics; they act when they must and say so."""

from __future__ import annotations

import json
import urllib.request
import uuid

import boto3
import pytest

import budget_guard
import idle_guard
import serving_hours
from local_aws.server import LocalAws
from tests.contract.environment import processing
from tests.contract.jobs import until
from tests.contract.serving import ask, create_config, start_endpoint
from tests.stacks.conftest import ClientFactory
from tests.stacks.served import (
    PIPELINE,
    TEMPLATE,
    create_budget,
    create_stack,
    parameters,
    register,
    settled_parameters,
)

LIMIT = 50.0


class Environment:
    """One environment: a serving stack that is on, a budget, a pipeline, and a queue that hears the alerts."""

    def __init__(self, aws: ClientFactory, endpoint_url: str) -> None:
        self.aws = aws
        self.name = f"bins-{uuid.uuid4().hex[:8]}"
        self.stack = f"{self.name}-serving"
        self._url = endpoint_url
        aws("sagemaker").create_model_package_group(ModelPackageGroupName=self.name)
        self.package = register(aws, self.name)
        values = {"ModelPackageArn": self.package, "EndpointState": "on"}
        create_stack(
            aws,
            self.stack,
            TEMPLATE,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        )
        create_budget(aws, self.name, LIMIT)
        aws("sagemaker").create_pipeline(
            PipelineName=self.name,
            PipelineDefinition=json.dumps(PIPELINE),
            ClientRequestToken=uuid.uuid4().hex,
            RoleArn="arn:aws:iam::123456789012:role/pipeline",
        )
        self.topic: str = aws("sns").create_topic(Name=self.name)["TopicArn"]
        self._queue: str = aws("sqs").create_queue(QueueName=self.name)["QueueUrl"]
        attributes = aws("sqs").get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        aws("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=attributes["QueueArn"])

    def spend(self, amount: float) -> None:
        """Makes the budget know of costs."""
        body = json.dumps({"BudgetName": self.name, "Amount": str(amount)}).encode()
        request = urllib.request.Request(f"{self._url}/_local/budgets/spend", data=body, method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def told(self) -> list[str]:
        """The messages since the last call."""
        messages = self.aws("sqs").receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            self.aws("sqs").delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["Message"] for message in messages]

    @property
    def state(self) -> str:
        """Whether the stack is told to serve."""
        return parameters(self.aws, self.stack)["EndpointState"]


@pytest.fixture
def environment(aws: ClientFactory, _local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment, and the variables of its functions."""
    made = Environment(aws, _local_aws.endpoint_url)
    variables = {
        "SERVING_STACK": made.stack,
        "ALERTS_TOPIC": made.topic,
        "ACCOUNT": "123456789012",
        "BUDGET": made.name,
        "GUARD_PERCENT": "100",
        "PIPELINES": made.name,
        "ENDPOINT": made.name,
        "VARIANT": "primary",
        "IDLE_SECONDS": "3600",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return made


def test_below_the_cap_an_alert_changes_nothing(environment: Environment) -> None:
    environment.spend(LIMIT * 0.99)
    answer = budget_guard.handler({}, None)
    assert answer["outcome"] == "left"
    assert "49.50 of 50.00 USD (99%)" in answer["reason"]
    assert environment.state == "on"
    assert environment.told() == []


def test_at_the_cap_the_endpoint_goes_and_people_are_told_once(environment: Environment) -> None:
    environment.spend(LIMIT * 1.5)
    assert budget_guard.handler({}, None)["outcome"] == "turned off"
    after = settled_parameters(environment.aws, environment.stack)
    assert (after["EndpointState"], after["ModelPackageArn"]) == ("off", environment.package)
    (message,) = environment.told()
    assert "75.00 of 50.00 USD (150%)" in message
    assert "binventory endpoint on" in message
    assert budget_guard.handler({}, None)["outcome"] == "left"
    assert environment.told() == []


def test_at_the_cap_the_endpoint_goes_first_and_running_executions_second(environment: Environment) -> None:
    aws = environment.aws
    body = {**PIPELINE, "Steps": [processing("Sleep", "sleep 300")]}
    aws("sagemaker").update_pipeline(PipelineName=environment.name, PipelineDefinition=json.dumps(body))
    arn = aws("sagemaker").start_pipeline_execution(PipelineName=environment.name)["PipelineExecutionArn"]

    def status() -> str:
        found = aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
        return str(found["PipelineExecutionStatus"])

    until(lambda: aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"])
    assert status() == "Executing"
    environment.spend(LIMIT)
    called: list[str] = []
    session = boto3.Session()
    session.events.register("before-call", lambda model, **_: called.append(model.name))
    boto3.DEFAULT_SESSION, before = session, boto3.DEFAULT_SESSION
    try:
        answer = budget_guard.handler({}, None)
    finally:
        boto3.DEFAULT_SESSION = before
    assert answer["outcome"] == "turned off"
    assert "executions stopped: 1" in answer["reason"]
    assert called.index("UpdateStack") < called.index("StopPipelineExecution") < called.index("Publish")
    until(lambda: status() == "Stopped")
    (message,) = environment.told()
    assert "The endpoint: turned off. Pipeline executions stopped: 1." in message


def test_an_environment_without_a_serving_stack_can_be_guarded(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_STACK", "there-is-none")
    environment.spend(LIMIT)
    assert budget_guard.handler({}, None)["outcome"] == "left"
    assert idle_guard.handler({}, None) == {"outcome": "left", "reason": "the endpoint is off"}


class TestIdleGuard:
    """The endpoint that nobody calls."""

    @pytest.fixture
    def endpoint(self, environment: Environment, image: str) -> str:
        """A running endpoint of the environment's name."""
        config = create_config(environment.aws, environment.name, image)
        assert start_endpoint(environment.aws, environment.name, config)["EndpointStatus"] == "InService"
        return environment.name

    def test_a_new_endpoint_gets_its_time(self, environment: Environment, endpoint: str) -> None:
        answer = idle_guard.handler({}, None)
        assert answer["outcome"] == "left"
        assert "less than 1 h" in answer["reason"]
        assert environment.state == "on"

    def test_a_busy_endpoint_stays_and_an_idle_one_goes(
        self, environment: Environment, endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IDLE_SECONDS", "0.5")
        ask(environment.aws, endpoint)
        dimensions = [{"Name": "EndpointName", "Value": endpoint}]
        until(lambda: environment.aws("cloudwatch").list_metrics(Dimensions=dimensions)["Metrics"])
        answer = idle_guard.handler({}, None)
        assert (answer["outcome"], "had 1 invocations" in answer["reason"]) == ("left", True)
        monkeypatch.setenv("VARIANT", "another")
        assert idle_guard.handler({}, None)["outcome"] == "turned off"
        assert settled_parameters(environment.aws, environment.stack)["EndpointState"] == "off"
        (message,) = environment.told()
        assert "had no invocation" in message
        assert idle_guard.handler({}, None)["outcome"] == "left"


def test_the_clock_turns_off_and_brings_the_same_model_back(environment: Environment) -> None:
    assert serving_hours.handler({"EndpointState": "on"}, None)["outcome"] == "left"
    assert serving_hours.handler({"EndpointState": "off"}, None)["outcome"] == "turned off"
    assert settled_parameters(environment.aws, environment.stack)["EndpointState"] == "off"
    assert serving_hours.handler({"EndpointState": "on"}, None)["outcome"] == "turned on"
    after = settled_parameters(environment.aws, environment.stack)
    assert (after["EndpointState"], after["ModelPackageArn"]) == ("on", environment.package)


def test_the_clock_does_not_undo_the_budget_guard(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.spend(LIMIT)
    budget_guard.handler({}, None)
    settled_parameters(environment.aws, environment.stack)
    answer = serving_hours.handler({"EndpointState": "on"}, None)
    assert answer["outcome"] == "left"
    assert "by hand" in answer["reason"]
    monkeypatch.setenv("GUARD_PERCENT", "0")
    assert serving_hours.handler({"EndpointState": "on"}, None)["outcome"] == "turned on"


def test_the_clock_needs_a_model(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = f"{environment.name}-empty"
    create_stack(environment.aws, empty, TEMPLATE)
    monkeypatch.setenv("SERVING_STACK", empty)
    assert "no model package" in serving_hours.handler({"EndpointState": "on"}, None)["reason"]
