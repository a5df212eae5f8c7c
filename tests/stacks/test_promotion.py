"""Promotion: the real handler against a real registry and a real stack, whatever the events look like."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import WaiterError

import serving_stack
from promotion import handler
from serving_stack import Outcome, ServingStack, StackBusyError, StackUnusableError
from tests.stacks.conftest import ClientFactory
from tests.stacks.served import TEMPLATE, create_stack, parameters, register, settled_parameters


@pytest.fixture
def group(aws: ClientFactory) -> str:
    """An empty model package group."""
    name = f"bins-{uuid.uuid4().hex[:8]}"
    aws("sagemaker").create_model_package_group(ModelPackageGroupName=name)
    return name


@pytest.fixture
def stack(aws: ClientFactory, group: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stack with the serving stack's parameters that nothing is served by yet."""
    name = f"{group}-serving"
    create_stack(aws, name, TEMPLATE, Parameters=[{"ParameterKey": "Untouched", "ParameterValue": "mine"}])
    monkeypatch.setenv("MODEL_PACKAGE_GROUP", group)
    monkeypatch.setenv("SERVING_STACK", name)
    return name


def _event(group: str, arn: str, status: str = "Approved") -> dict[str, Any]:
    return {
        "source": "aws.sagemaker",
        "detail-type": "SageMaker Model Package State Change",
        "detail": {"ModelPackageGroupName": group, "ModelPackageArn": arn, "ModelApprovalStatus": status},
    }


def test_an_approval_is_served_and_everything_else_of_the_stack_stays(
    aws: ClientFactory, group: str, stack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = register(aws, group)
    assert handler(_event(group, arn), None)["outcome"] == "started"
    assert settled_parameters(aws, stack) == {"ModelPackageArn": arn, "EndpointState": "on", "Untouched": "mine"}
    template = aws("cloudformation").get_template(StackName=stack)["TemplateBody"]
    assert (template if isinstance(template, dict) else json.loads(template)) == TEMPLATE
    logged = json.loads(capsys.readouterr().out)
    assert logged == {
        "outcome": "started",
        "reason": f"stack {stack} is being updated",
        "model_package_arn": arn,
    }


def test_the_same_event_twice_changes_nothing(aws: ClientFactory, group: str, stack: str) -> None:
    event = _event(group, register(aws, group))
    handler(event, None)
    settled_parameters(aws, stack)
    events = aws("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    assert handler(event, None)["outcome"] == "unchanged"
    assert aws("cloudformation").describe_stack_events(StackName=stack)["StackEvents"] == events


def test_a_newer_approval_replaces_the_model(aws: ClientFactory, group: str, stack: str) -> None:
    first, second = register(aws, group), register(aws, group)
    for arn in (first, second):
        handler(_event(group, arn), None)
        assert settled_parameters(aws, stack)["ModelPackageArn"] == arn


@pytest.mark.parametrize("status", ["Rejected", "PendingManualApproval"])
def test_an_event_that_came_late_is_ignored(aws: ClientFactory, group: str, stack: str, status: str) -> None:
    arn = register(aws, group)
    aws("sagemaker").update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)
    answer = handler(_event(group, arn), None)
    assert answer["outcome"] == "ignored"
    assert status in answer["reason"]
    assert parameters(aws, stack)["EndpointState"] == "off"


@pytest.mark.parametrize("status", ["Rejected", "PendingManualApproval", None])
def test_other_states_are_ignored(aws: ClientFactory, group: str, stack: str, status: str) -> None:
    answer = handler(_event(group, "arn:aws:sagemaker:us-east-1:123456789012:model-package/x/1", status), None)
    assert answer["outcome"] == "ignored"
    assert parameters(aws, stack)["EndpointState"] == "off"


def test_other_groups_are_ignored(aws: ClientFactory, group: str, stack: str) -> None:
    answer = handler(_event("someone-elses", register(aws, group)), None)
    assert answer == {
        "outcome": "ignored",
        "reason": f"the event is about group someone-elses, not {group}",
        "model_package_arn": answer["model_package_arn"],
    }
    assert parameters(aws, stack)["EndpointState"] == "off"


def test_events_of_another_shape_are_ignored(aws: ClientFactory, stack: str) -> None:
    assert handler({}, None)["outcome"] == "ignored"


def _waiting(seconds: int) -> dict[str, Any]:
    """A template that waits for a signal which never comes, as a stack waits for a long rollout."""
    return {
        "Parameters": TEMPLATE["Parameters"],
        "Resources": {
            "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
            "Never": {
                "Type": "AWS::CloudFormation::WaitCondition",
                "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": str(seconds)},
            },
        },
    }


def test_a_busy_stack_is_waited_for_and_then_given_up_for_the_next_try(
    aws: ClientFactory, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_stack, "POLL_SECONDS", 0.05)
    name = f"{group}-busy"
    cloudformation = aws("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(_waiting(seconds=60)))
    try:
        with pytest.raises(StackBusyError, match=r"CREATE_IN_PROGRESS after 0 s"):
            ServingStack(cloudformation, name).change({"EndpointState": "on"}, patience_seconds=0.2)
    finally:
        cloudformation.delete_stack(StackName=name)


def test_a_broken_stack_is_said_to_be_broken(aws: ClientFactory, group: str) -> None:
    name = f"{group}-broken"
    cloudformation = aws("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(_waiting(seconds=1)))
    with pytest.raises(WaiterError):
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})
    with pytest.raises(StackUnusableError, match="repair it with `cdk deploy`"):
        ServingStack(cloudformation, name).change({"EndpointState": "on"}, patience_seconds=0)


def test_a_parameter_that_does_not_exist_is_named(aws: ClientFactory, stack: str) -> None:
    with pytest.raises(ValueError, match="has no parameter Colour"):
        ServingStack(aws("cloudformation"), stack).change({"Colour": "blue"}, patience_seconds=0)


def test_turning_off_and_on_brings_the_same_model_back(aws: ClientFactory, group: str, stack: str) -> None:
    arn = register(aws, group)
    handler(_event(group, arn), None)
    settled_parameters(aws, stack)
    serving = ServingStack(aws("cloudformation"), stack)
    assert serving.change({"EndpointState": "off"}, patience_seconds=0) is Outcome.STARTED
    assert settled_parameters(aws, stack)["ModelPackageArn"] == arn
    assert "Served" not in _resource_names(aws, stack)
    assert serving.change({"EndpointState": "on"}, patience_seconds=0) is Outcome.STARTED
    assert settled_parameters(aws, stack)["ModelPackageArn"] == arn
    assert "Served" in _resource_names(aws, stack)


def _resource_names(aws: ClientFactory, stack: str) -> set[str]:
    found = aws("cloudformation").list_stack_resources(StackName=stack)["StackResourceSummaries"]
    return {entry["LogicalResourceId"] for entry in found if entry["ResourceStatus"] != "DELETE_COMPLETE"}
