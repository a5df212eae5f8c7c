"""A stack does not take over what exists: somebody else's would change with it, and go with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import SCHEDULE_ROLE, ClientFactory
from tests.contract.functions import make_function
from tests.contract.jobs import ROLE
from tests.contract.stacked import Stack

NAME = "somebody-elses"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ALARM = {
    "AlarmName": NAME,
    "Namespace": "Tests",
    "MetricName": "Existing",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}
SCHEDULE = {
    "Name": NAME,
    "ScheduleExpression": "rate(365 days)",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "Target": {"Arn": "arn:aws:sns:us-east-1:123456789012:any", "RoleArn": SCHEDULE_ROLE},
}
CODE = {"Runtime": "python3.14", "Handler": "index.handler", "Role": ROLE, "Code": {"ZipFile": "handler = print"}}
BODY = json.dumps({"widgets": []})
Act = Callable[[ClientFactory], Any]
KINDS: dict[str, tuple[dict[str, Any], Act, Act]] = {
    "AWS::IAM::Role": (
        {"RoleName": NAME, "AssumeRolePolicyDocument": TRUST},
        lambda client: client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(TRUST)),
        lambda client: client("iam").get_role(RoleName=NAME),
    ),
    "AWS::Lambda::Function": (
        {"FunctionName": NAME, **CODE},
        lambda client: make_function(client, NAME, "return 1"),
        lambda client: client("lambda").get_function(FunctionName=NAME),
    ),
    "AWS::CloudWatch::Alarm": (
        ALARM,
        lambda client: client("cloudwatch").put_metric_alarm(**ALARM),
        lambda client: client("cloudwatch").describe_alarms(AlarmNames=[NAME])["MetricAlarms"][0],
    ),
    "AWS::CloudWatch::Dashboard": (
        {"DashboardName": NAME, "DashboardBody": BODY},
        lambda client: client("cloudwatch").put_dashboard(DashboardName=NAME, DashboardBody=BODY),
        lambda client: client("cloudwatch").get_dashboard(DashboardName=NAME),
    ),
    "AWS::Events::Rule": (
        {"Name": NAME, "EventPattern": {"source": ["tests"]}},
        lambda client: client("events").put_rule(Name=NAME, EventPattern='{"source": ["tests"]}'),
        lambda client: client("events").describe_rule(Name=NAME),
    ),
    "AWS::Scheduler::Schedule": (
        SCHEDULE,
        lambda client: client("scheduler").create_schedule(**SCHEDULE),
        lambda client: client("scheduler").get_schedule(Name=NAME),
    ),
}
"""By type: its properties, what makes it by its service's API, and what reads it."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_creates_nothing_that_exists(client: ClientFactory, kind: str) -> None:
    properties, make, read = KINDS[kind]
    template = {"Resources": {"Taken": {"Type": kind, "Properties": properties}}}
    first, second = Stack(client, f"first-{kind.rpartition(':')[2]}"), Stack(client, f"own-{kind.rpartition(':')[2]}")
    make(client)
    assert first.create(template) == "ROLLBACK_COMPLETE"
    assert f"Resource of type '{kind}' with identifier" in first.reasons()
    assert "already exists" in first.reasons()
    first.delete()
    assert read(client), "still there"

    # Its own it makes, changes and deletes as before.
    named = next(member for member in properties if member.endswith("Name"))
    own = {"Resources": {"Own": {"Type": kind, "Properties": {**properties, named: "its-own"}}}}
    assert second.create(own) == "CREATE_COMPLETE", second.reasons()
    with pytest.raises(ClientError, match="No updates are to be performed"):
        second.update(own)
    second.delete()
    assert second.create(own) == "CREATE_COMPLETE", second.reasons()
    second.delete()
