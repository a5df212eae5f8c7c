"""The reconcile function in the templates: its permissions, and what calls it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from stacks.names import SERVING_RESOURCE_TYPES
from stacks.settings import load
from tests.rights import ACCOUNT, Deployment, Request, allows, condition_keys
from tests.stacks.templates import as_list, changed, flat, only, resources, statements, synthesize, templates

HOURS = {"days": "MON-FRI", "start": "07:30", "end": "19:00", "time_zone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def full() -> dict[str, dict[str, Any]]:
    """The stacks with everything that can be asked for."""
    return synthesize(changed(load("dev"), "money", guard_percent=90, idle_hours=0.5, serving_hours=HOURS))


def function_of(template: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Logical id and properties of the function."""
    ((name, found),) = [
        (name, item["Properties"])
        for name, item in resources(template, "AWS::Lambda::Function").items()
        if item["Properties"]["Handler"] == "reconcile.handler"
    ]
    return name, found


def policy_of(template: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of the function's role."""
    found = [statement for name, statement in statements(template) if name.startswith("ReconcileFunctionPolicy")]
    assert found
    return found


def test_no_other_function_may_change_the_serving_stack(full: dict[str, dict[str, Any]]) -> None:
    changing = {
        name
        for template in full.values()
        for name, statement in statements(template)
        if "cloudformation:UpdateStack" in as_list(statement["Action"])
    }
    assert len(changing) == 1 and min(changing).startswith("ReconcileFunctionPolicy")


def test_it_changes_the_serving_stack_and_little_else(full: dict[str, dict[str, Any]]) -> None:
    changing = {
        "cloudformation:UpdateStack",
        "iam:PassRole",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:DeleteObject",
        "s3:PutObject",
        "sagemaker:DeleteEndpointConfig",
        "sagemaker:DeleteModel",
        "sagemaker:StopPipelineExecution",
        "sagemaker:UpdateModelPackage",
        "sns:Publish",
    }
    reading = ("Describe", "List", "Get", "View")
    for statement in policy_of(full["Training"]):
        for action in as_list(statement["Action"]):
            assert action in changing or action.split(":")[1].startswith(reading), action
        if "cloudformation:UpdateStack" in as_list(statement["Action"]):
            assert flat(statement["Resource"]).endswith(":stack/binventory-dev-serving/*")
            (role,) = statement["Condition"].pop("ArnEquals").values()
            assert flat(role).startswith("<ServingUpdateRole") and flat(role).endswith(".Arn>")
            assert statement["Condition"] == {
                "Null": {"cloudformation:ResourceTypes": "false", "cloudformation:TemplateUrl": "true"},
                "ForAllValues:StringEquals": {"cloudformation:ResourceTypes": list(SERVING_RESOURCE_TYPES)},
            }
        if "iam:PassRole" in as_list(statement["Action"]):
            assert flat(statement["Resource"]).startswith("<ServingUpdateRole")
            assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}
        if "s3:PutObject" in as_list(statement["Action"]):
            assert flat(statement["Resource"]).endswith("/endpoint/*")


UPDATES: dict[str, tuple[dict[str, str | Sequence[str]], bool]] = {
    "as it does": ({"cloudformation:resourcetypes": SERVING_RESOURCE_TYPES}, True),
    "some types": ({"cloudformation:resourcetypes": ("AWS::SageMaker::Endpoint",)}, True),
    "every type": ({}, False),
    "roles too": ({"cloudformation:resourcetypes": (*SERVING_RESOURCE_TYPES, "AWS::IAM::Role")}, False),
    "functions": ({"cloudformation:resourcetypes": ("AWS::Lambda::Function",)}, False),
    "no role": ({"cloudformation:resourcetypes": SERVING_RESOURCE_TYPES, "cloudformation:rolearn": ""}, False),
    "another role": (
        {
            "cloudformation:resourcetypes": SERVING_RESOURCE_TYPES,
            "cloudformation:rolearn": f"arn:aws:iam::{ACCOUNT}:role/admin",
        },
        False,
    ),
    "a template in S3": (
        {
            "cloudformation:resourcetypes": SERVING_RESOURCE_TYPES,
            "cloudformation:templateurl": "https://s3.amazonaws.com/any/template.json",
        },
        False,
    ),
}


@pytest.mark.parametrize("update", UPDATES)
def test_it_may_bring_nothing_of_iam_into_the_stack(update: str) -> None:
    """An inline template is in no condition key, so the request must name its resource types, and the stack's role."""
    keys, allowed = UPDATES[update]
    deployment = Deployment(templates("dev"))
    (own,) = (found for role, found in deployment.roles().items() if "ReconcileFunctionRole" in role)
    (role,) = (role for role in deployment.roles() if "ServingUpdateRole" in role)
    named = {"cloudformation:rolearn": f"arn:aws:iam::{ACCOUNT}:role/{role}", **keys}
    stack = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/binventory-dev-serving/0a1b2c3d"
    given = {key: value for key, value in named.items() if value}
    assert allows(own, Request("cloudformation:UpdateStack", stack, condition_keys(given))) is allowed


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_serving_stack_is_made_of_what_it_may_name(environment: str) -> None:
    kinds = {item["Type"] for item in templates(environment)["Serving"]["Resources"].values()}
    assert kinds <= set(SERVING_RESOURCE_TYPES)


def test_it_may_reject_a_package_and_approve_none(full: dict[str, dict[str, Any]]) -> None:
    (updating,) = [item for item in policy_of(full["Training"]) if item["Action"] == "sagemaker:UpdateModelPackage"]
    assert updating["Condition"] == {"StringEquals": {"sagemaker:ModelApprovalStatus": "Rejected"}}
    assert flat(updating["Resource"]).endswith(":model-package/binventory-dev/*")


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_permissions_for_any_model_require_the_environments_tag(environment: str) -> None:
    """CloudFormation makes up the names of models and configurations, so only the tag names their environment.

    Configurations of any name may be read: autoscaling tries that right on one that does not exist.
    """
    seen = 0
    for template in templates(environment).values():
        for name, statement in statements(template):
            ends = (":model/*", ":endpoint-config/*")
            reads = as_list(statement["Action"]) == ["sagemaker:DescribeEndpointConfig"]
            if any(flat(resource).endswith(ends) for resource in as_list(statement["Resource"])) and not reads:
                seen += 1
                assert statement["Condition"] == {
                    "StringEquals": {"aws:ResourceTag/deployment": f"binventory-{environment}"}
                }, name
    assert seen


def test_only_what_guards_may_read_the_budget_stop_executions_and_read_metrics() -> None:
    allowed = {action for item in policy_of(templates("prod")["Training"]) for action in as_list(item["Action"])}
    assert not allowed & {
        "budgets:ViewBudget",
        "cloudwatch:GetMetricStatistics",
        "sagemaker:StopPipelineExecution",
    }
    _, function = function_of(templates("prod")["Training"])
    variables = function["Environment"]["Variables"]
    assert (float(variables["GUARD_PERCENT"]), float(variables["IDLE_SECONDS"])) == (0, 0)


def test_its_words_do_not_come_back_to_it(full: dict[str, dict[str, Any]]) -> None:
    """It subscribes to the budget's topic and publishes to the other one."""
    name, function = function_of(full["Training"])
    (trigger,) = [
        item["Properties"]
        for item in resources(full["Training"], "AWS::SNS::Subscription").values()
        if item["Properties"]["Protocol"] == "lambda"
    ]
    assert flat(trigger["Endpoint"]) == f"<{name}.Arn>"
    heard, spoken = flat(trigger["TopicArn"]), flat(function["Environment"]["Variables"]["ALERTS_TOPIC"])
    assert "BudgetAlerts" in heard and "BudgetAlerts" not in spoken and "Alerts" in spoken


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_functions_that_fail_are_heard_of(environment: str) -> None:
    for stack in ("Training", "Monitoring"):
        template = templates(environment)[stack]
        failing = [
            alarm["Properties"]
            for alarm in resources(template, "AWS::CloudWatch::Alarm").values()
            if alarm["Properties"].get("MetricName") == "Errors"
        ]
        watched = {dimension["Value"]["Ref"] for alarm in failing for dimension in alarm["Dimensions"]}
        names = set(resources(template, "AWS::Lambda::Function"))
        # A fingerprint that fails is a failed step of an execution that somebody follows.
        assert watched == {name for name in names if not name.startswith(("Cleanup", "Fingerprint"))}
        for alarm in failing:
            assert "Alerts" in flat(alarm["AlarmActions"][0])


def test_schedules_follow_the_settings(full: dict[str, dict[str, Any]]) -> None:
    found = {
        item["Properties"]["ScheduleExpression"]: item["Properties"]
        for item in resources(full["Training"], "AWS::Scheduler::Schedule").values()
    }
    assert set(found) == {"rate(7 minutes)", "cron(30 7 ? * MON-FRI *)", "cron(0 19 ? * MON-FRI *)"}
    assert json.loads(found["rate(7 minutes)"]["Target"]["Input"]) == {}
    for expression, state in (("cron(30 7 ? * MON-FRI *)", "on"), ("cron(0 19 ? * MON-FRI *)", "off")):
        assert found[expression]["ScheduleExpressionTimezone"] == "Europe/Berlin"
        assert json.loads(found[expression]["Target"]["Input"]) == {
            "endpoint": state, "by": "the serving hours", "at": "<aws.scheduler.scheduled-time>"
        }  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "expression"), [(0.02, "rate(1 minute)"), (24, "rate(15 minutes)"), (0, "rate(15 minutes)")]
)
def test_it_looks_often_enough_and_not_too_often(hours: float, expression: str) -> None:
    template = synthesize(changed(load("dev"), "money", idle_hours=hours))["Training"]
    assert only(template, "AWS::Scheduler::Schedule")["Properties"]["ScheduleExpression"] == expression
    variables = function_of(template)[1]["Environment"]["Variables"]
    assert float(variables["IDLE_SECONDS"]) == hours * 3600
    assert (variables["ENDPOINT"], variables["VARIANT"]) == ("binventory-dev", "primary")


def test_prod_is_compared_by_the_clock_as_well() -> None:
    schedule = only(templates("prod")["Training"], "AWS::Scheduler::Schedule")["Properties"]
    assert schedule["ScheduleExpression"] == "rate(15 minutes)"


def test_it_hears_every_change_of_its_own_group() -> None:
    template = templates("dev")["Training"]
    rules = resources(template, "AWS::Events::Rule").values()
    (rule,) = (rule for rule in rules if rule["Properties"]["Name"] == "binventory-dev-model-package")
    pattern = rule["Properties"]["EventPattern"]
    assert pattern["source"] == ["aws.sagemaker"]
    assert pattern["detail-type"] == ["SageMaker Model Package State Change"]
    assert pattern["detail"] == {"ModelPackageGroupName": ["binventory-dev"]}
    name, _ = function_of(template)
    assert {flat(rule["Properties"]["Targets"][0]["Arn"]) for rule in rules} == {f"<{name}.Arn>"}
    permissions = [item["Properties"] for item in resources(template, "AWS::Lambda::Permission").values()]
    callers = {item["Principal"] for item in permissions if flat(item["FunctionName"]) == f"<{name}.Arn>"}
    assert callers == {"events.amazonaws.com", "sns.amazonaws.com"}


def test_rollouts_keep_what_they_replace() -> None:
    """SageMaker may still take one back when CloudFormation has called it a success."""
    template = templates("dev")["Serving"]
    for kind in ("AWS::SageMaker::Model", "AWS::SageMaker::EndpointConfig"):
        resource = only(template, kind)
        assert (resource["UpdateReplacePolicy"], resource["DeletionPolicy"]) == ("Retain", "Delete")
