"""A function and a schedule act with a role that exists and trusts their service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.functions import make_function
from tests.contract.stacked import Stack

ACCOUNT = "123456789012"
NEVER_MADE = f"arn:aws:iam::{ACCOUNT}:role/never-made"
LAMBDA = "The role defined for the function cannot be assumed by Lambda"
SCHEDULER = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role"
GROUP = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group"


def trusting(client: ClientFactory, name: str, service: str, condition: dict[str, Any] | None = None) -> str:
    """The ARN of a role that lets a service assume it."""
    statement = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    statement |= {"Condition": condition} if condition else {}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn: str = client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    return arn


def schedule(client: ClientFactory, name: str, role: str, **more: str) -> None:
    """A schedule for next year."""
    target = {"Arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:any", "RoleArn": role}
    client("scheduler").create_schedule(
        Name=name, ScheduleExpression="rate(365 days)", FlexibleTimeWindow={"Mode": "OFF"}, Target=target, **more
    )


def test_a_function_has_a_role_that_lambda_can_assume(client: ClientFactory) -> None:
    """When it is made, and when it gets another role."""
    other, own = trusting(client, "of-jobs", "sagemaker"), trusting(client, "of-functions", "lambda")
    for role in (NEVER_MADE, other):
        with pytest.raises(ClientError, match=f"InvalidParameterValueException.*{LAMBDA}"):
            make_function(client, "acting", "return 1", role)
    make_function(client, "acting", "return 1", own)
    with pytest.raises(ClientError, match=LAMBDA):
        client("lambda").update_function_configuration(FunctionName="acting", Role=other)
    assert client("lambda").get_function_configuration(FunctionName="acting")["Role"] == own
    client("lambda").update_function_configuration(FunctionName="acting", Timeout=9)


def test_a_schedule_has_a_role_that_the_scheduler_can_assume(client: ClientFactory) -> None:
    other = trusting(client, "of-others", "events")
    for role in (NEVER_MADE, other):
        with pytest.raises(ClientError, match=f"ValidationException.*{SCHEDULER}"):
            schedule(client, "acting", role)
    account = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    schedule(client, "acting", trusting(client, "of-schedules", "scheduler", account))


def test_the_scheduler_assumes_a_role_for_the_group_of_a_schedule(client: ClientFactory) -> None:
    """As the CDK's own constructs let it: the source is the group, and never the schedule."""
    client("scheduler").create_schedule_group(Name="mine")
    role = trusting(client, "of-a-group", "scheduler", {"StringEquals": {"aws:SourceArn": f"{GROUP}/mine"}})
    schedule(client, "grouped", role, GroupName="mine")
    with pytest.raises(ClientError, match=SCHEDULER):
        schedule(client, "elsewhere", role)


def test_a_condition_that_is_not_held_is_refused_by_name(client: ClientFactory) -> None:
    role = trusting(client, "organised", "lambda", {"StringEquals": {"aws:SourceOrgID": "o-1"}})
    with pytest.raises(ClientError, match=r"NotImplemented.*aws:sourceorgid.*organised"):
        make_function(client, "conditional", "return 1", role)


@pytest.mark.parametrize("kind", ["function", "schedule"])
def test_a_stack_gives_no_role_that_cannot_be_assumed(client: ClientFactory, kind: str) -> None:
    named = f"of-{kind}-stack"
    resources = {
        "function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.14",
                "Handler": "index.handler",
                "Code": {"ZipFile": "handler = print"},
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            },
        },
        "schedule": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {
                "ScheduleExpression": "rate(365 days)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:any",
                    "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                },
            },
        },
    }

    def template(service: str) -> dict[str, Any]:
        trusted = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = {"Version": "2012-10-17", "Statement": [trusted]}
        role = {"Type": "AWS::IAM::Role", "Properties": {"RoleName": named, "AssumeRolePolicyDocument": document}}
        return {"Resources": {"Role": role, "Acting": resources[kind]}}

    wrong, right = Stack(client, f"wrong-{kind}"), Stack(client, f"right-{kind}")
    assert wrong.create(template("sagemaker")) == "ROLLBACK_COMPLETE"
    assert (LAMBDA if kind == "function" else SCHEDULER) in wrong.reasons()
    wrong.delete()
    assert right.create(template("lambda" if kind == "function" else "scheduler")) == "CREATE_COMPLETE", right.reasons()
    right.delete()
