"""The rollout check, its real handler beside a real stack and endpoint: it tells of every difference and no more."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from rollout_check import handler
from tests.contract.serving import ROLE, create_config, put_artefact, wait_while
from tests.stacks.conftest import ClientFactory
from tests.stacks.served import create_stack
from tests.stacks.templates import flat, resources, templates

_SERVED: dict[str, Any] = {
    "Model": {
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": {"Ref": "Image"}, "ModelDataUrl": {"Ref": "ModelPackageArn"}},
    },
    "EndpointConfig": {
        "ProductionVariants": [
            {
                "VariantName": "primary",
                "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ]
    },
    "Endpoint": {
        "EndpointName": {"Ref": "AWS::StackName"},
        "EndpointConfigName": {"Fn::GetAtt": ["EndpointConfig", "EndpointConfigName"]},
    },
}
TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "Image": {"Type": "String"},
        "ModelPackageArn": {"Type": "String"},
        "EndpointState": {"Type": "String"},
    },
    "Conditions": {"Serving": {"Fn::Equals": [{"Ref": "EndpointState"}, "on"]}},
    "Resources": {
        "Always": {"Type": "AWS::SNS::Topic"},
        **{
            name: {"Type": f"AWS::SageMaker::{name}", "Condition": "Serving", "Properties": properties}
            for name, properties in _SERVED.items()
        },
    },
}


class Serving:
    """A stack with the serving stack's resources, and the alerts about it."""

    def __init__(self, aws: ClientFactory, image: str, name: str, queue: str) -> None:
        self.aws = aws
        self.name = name
        self.image = image
        self._queue = queue

    def create(self, **parameters: str) -> None:
        create_stack(self.aws, self.name, TEMPLATE, Parameters=self._parameters(parameters))

    def update(self, **parameters: str) -> None:
        """Updates the stack and waits for the end, whichever it is."""
        cloudformation = self.aws("cloudformation")
        cloudformation.update_stack(
            StackName=self.name, UsePreviousTemplate=True, Parameters=self._parameters(parameters)
        )
        while self.status().endswith("_IN_PROGRESS"):
            time.sleep(0.1)

    def status(self) -> str:
        return str(self.aws("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"])

    def alerts(self) -> list[tuple[str, str]]:
        """Subject and text of what was told since the last look."""
        time.sleep(0.3)
        messages = self.aws("sqs").receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            self.aws("sqs").delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        told = [json.loads(message["Body"]) for message in messages]
        return [(entry["Subject"], entry["Message"]) for entry in told]

    def _parameters(self, values: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"ParameterKey": key, "ParameterValue": value} for key, value in {"Image": self.image, **values}.items()
        ]


@pytest.fixture
def serving(aws: ClientFactory, image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Nothing yet but a name, a topic and somebody who listens to it."""
    name = f"check-{uuid.uuid4().hex[:8]}"
    topic = aws("sns").create_topic(Name=name)["TopicArn"]
    queue = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
    attributes = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    for key, value in {"SERVING_STACK": name, "ENDPOINT": name, "ALERTS_TOPIC": topic}.items():
        monkeypatch.setenv(key, value)
    yield Serving(aws, image, name, queue)
    aws("cloudformation").delete_stack(StackName=name)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})


def test_what_was_asked_for_is_nothing_to_tell(serving: Serving) -> None:
    good = put_artefact(serving.aws, serving.name)
    serving.create(ModelPackageArn=good, EndpointState="on")
    assert handler({}, None) == {"outcome": "as asked", "reason": f"the endpoint serves {good}"}
    serving.update(ModelPackageArn=good, EndpointState="off")
    assert handler({}, None)["reason"] == "serving is off and there is no endpoint"
    assert serving.alerts() == []


def test_a_failed_promotion_is_told_with_its_cause_and_what_is_served(serving: Serving) -> None:
    good = put_artefact(serving.aws, serving.name)
    serving.create(ModelPackageArn=good, EndpointState="on")
    serving.update(ModelPackageArn=put_artefact(serving.aws, f"{serving.name}-bad", crash=True), EndpointState="on")
    assert serving.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert handler({}, None)["outcome"] == "rolled back"
    ((subject, text),) = serving.alerts()
    assert subject == f"{serving.name}: promotion rolled back"
    assert "Endpoint: " in text and "cannot load the model" in text
    assert f"the endpoint serves {good}" in text and "approve a better package" in text


def test_an_endpoint_with_another_configuration_is_told(serving: Serving) -> None:
    good = put_artefact(serving.aws, serving.name)
    serving.create(ModelPackageArn=good, EndpointState="on")
    other = create_config(serving.aws, f"{serving.name}-by-hand", serving.image)
    serving.aws("sagemaker").update_endpoint(EndpointName=serving.name, EndpointConfigName=other)
    wait_while(serving.aws, serving.name, "Updating")
    assert handler({}, None)["outcome"] == "differs"
    ((subject, text),) = serving.alerts()
    assert subject == f"{serving.name}: not what was asked for"
    assert f"serves configuration {other} instead of" in text and good in text and "binventory endpoint off" in text


def test_an_endpoint_that_died_or_should_not_be_is_told(serving: Serving) -> None:
    good = put_artefact(serving.aws, serving.name)
    serving.create(ModelPackageArn=good, EndpointState="on")
    serving.aws("sagemaker").delete_endpoint(EndpointName=serving.name)
    while serving.aws("sagemaker").list_endpoints(NameContains=serving.name)["Endpoints"]:
        time.sleep(0.05)
    assert handler({}, None)["reason"] == "there is no endpoint although serving is on"
    serving.update(ModelPackageArn=good, EndpointState="off")
    config = create_config(serving.aws, f"{serving.name}-stray", serving.image)
    serving.aws("sagemaker").create_endpoint(EndpointName=serving.name, EndpointConfigName=config)
    wait_while(serving.aws, serving.name, "Creating")
    assert handler({}, None)["reason"] == "the endpoint is InService and bills although serving is off"
    assert [subject for subject, _ in serving.alerts()] == [f"{serving.name}: not what was asked for"] * 2
    serving.aws("sagemaker").delete_endpoint(EndpointName=serving.name)


def test_the_function_is_called_at_the_end_of_every_update_of_the_serving_stack() -> None:
    rules = resources(templates("dev")["Training"], "AWS::Events::Rule").values()
    (rule,) = (rule["Properties"] for rule in rules if rule["Properties"]["Name"] == "binventory-dev-rollout-check")
    pattern = rule["EventPattern"]
    assert pattern["source"] == ["aws.cloudformation"]
    (of,) = pattern["detail"]["stack-id"]
    assert flat(of["prefix"]).endswith(":stack/binventory-dev-serving/")
    statuses = pattern["detail"]["status-details"]["status"]
    assert not [status for status in statuses if status.endswith("_IN_PROGRESS")]
    assert {"UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"} <= set(statuses)
