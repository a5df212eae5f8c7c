"""The cap: who is told when, what the guards may do, and when they look."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.money_stack import ALERT_PERCENTS
from stacks.settings import load
from tests.stacks.templates import as_list, changed, flat, only, resources, statements, synthesize, templates

HOURS = {"days": "MON-FRI", "start": "07:30", "end": "19:00", "time_zone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    """The stack with everything that can be asked for."""
    settings = changed(
        load("dev"),
        "money",
        alert_emails=["ops@example.com"],
        guard_percent=90,
        idle_hours=2,
        serving_hours=HOURS,
        anomaly_usd=10,
    )
    return synthesize(settings)["Money"]


def _functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        function["Properties"]["FunctionName"]: function["Properties"]
        for function in resources(template, "AWS::Lambda::Function").values()
    }


def test_the_budget_is_that_of_the_tag(full: dict[str, Any]) -> None:
    budget = only(full, "AWS::Budgets::Budget")["Properties"]
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:deployment$binventory-dev"]}
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    assert {tag["Key"] for tag in budget["ResourceTags"]} == {"deployment", "environment", "project"}


def test_people_and_the_guard_hear_of_each_share_and_of_the_forecast(full: dict[str, Any]) -> None:
    alerts = only(full, "AWS::Budgets::Budget")["Properties"]["NotificationsWithSubscribers"]
    told = {(item["Notification"]["NotificationType"], item["Notification"]["Threshold"]) for item in alerts}
    assert told == {*(("ACTUAL", percent) for percent in (*ALERT_PERCENTS, 90)), ("FORECASTED", 100)}
    assert len(alerts) <= 5  # AWS takes no more for one budget
    for item in alerts:
        assert [entry["SubscriptionType"] for entry in item["Subscribers"]] == ["SNS", "EMAIL"]
        assert flat(item["Subscribers"][0]["Address"]).startswith("<BudgetAlerts")


def test_the_guards_words_do_not_come_back_to_the_guard(full: dict[str, Any]) -> None:
    """The guard hears the budget's topic and speaks on the other one."""
    (trigger,) = [
        item["Properties"]
        for item in resources(full, "AWS::SNS::Subscription").values()
        if item["Properties"]["Protocol"] == "lambda"
    ]
    assert flat(trigger["TopicArn"]).startswith("<BudgetAlerts")
    spoken = _functions(full)["binventory-dev-budget-guard"]["Environment"]["Variables"]["ALERTS_TOPIC"]
    assert flat(spoken).startswith("<Alerts")


def test_topics_take_messages_of_their_services_for_this_account_over_tls(full: dict[str, Any]) -> None:
    services = set()
    for policy in resources(full, "AWS::SNS::TopicPolicy").values():
        found = policy["Properties"]["PolicyDocument"]["Statement"]
        assert any(
            item["Effect"] == "Deny" and item["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            for item in found
        )
        for item in found:
            if item["Effect"] == "Allow":
                services.update(as_list(item["Principal"]["Service"]))
                assert item["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert services == {"budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com"}


def test_guards_change_the_serving_stack_and_nothing_else(full: dict[str, Any]) -> None:
    changing = {
        "cloudformation:UpdateStack",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sagemaker:StopPipelineExecution",
        "sns:Publish",
    }
    reading = ("Describe", "List", "Get", "View")
    for name, statement in statements(full):
        for action in as_list(statement["Action"]):
            assert action in changing or action.split(":")[1].startswith(reading), f"{name}: {action}"
        if "cloudformation:UpdateStack" in as_list(statement["Action"]):
            assert flat(statement["Resource"]).endswith(":stack/binventory-dev-serving/*")


def test_a_guard_that_fails_is_heard_of(full: dict[str, Any]) -> None:
    watched = {
        dimension["Value"]["Ref"]
        for alarm in resources(full, "AWS::CloudWatch::Alarm").values()
        for dimension in alarm["Properties"]["Dimensions"]
    }
    assert watched == set(resources(full, "AWS::Lambda::Function"))
    for alarm in resources(full, "AWS::CloudWatch::Alarm").values():
        assert flat(alarm["Properties"]["AlarmActions"][0]).startswith("<Alerts")


def test_schedules_follow_the_settings(full: dict[str, Any]) -> None:
    found = {
        item["Properties"]["ScheduleExpression"]: item["Properties"]
        for item in resources(full, "AWS::Scheduler::Schedule").values()
    }
    assert set(found) == {"rate(30 minutes)", "cron(30 7 ? * MON-FRI *)", "cron(0 19 ? * MON-FRI *)"}
    for expression, state in (("cron(30 7 ? * MON-FRI *)", "on"), ("cron(0 19 ? * MON-FRI *)", "off")):
        assert found[expression]["ScheduleExpressionTimezone"] == "Europe/Berlin"
        assert json.loads(found[expression]["Target"]["Input"]) == {"EndpointState": state}


@pytest.mark.parametrize(("hours", "expression"), [(0.02, "rate(1 minute)"), (24, "rate(60 minutes)")])
def test_the_idle_guard_looks_often_enough_and_not_too_often(hours: float, expression: str) -> None:
    template = synthesize(changed(load("dev"), "money", idle_hours=hours))["Money"]
    assert only(template, "AWS::Scheduler::Schedule")["Properties"]["ScheduleExpression"] == expression
    guard = _functions(template)["binventory-dev-idle-guard"]["Environment"]["Variables"]
    assert float(guard["IDLE_SECONDS"]) == hours * 3600
    assert (guard["ENDPOINT"], guard["VARIANT"]) == ("binventory-dev", "primary")


def test_prod_is_told_of_cost_and_never_turned_off() -> None:
    template = templates("prod")["Money"]
    assert only(template, "AWS::Budgets::Budget")
    assert not resources(template, "AWS::Lambda::Function")
    assert not resources(template, "AWS::Scheduler::Schedule")


def test_anomalies_are_watched_when_asked_for(full: dict[str, Any]) -> None:
    monitor = only(full, "AWS::CE::AnomalyMonitor")["Properties"]
    assert json.loads(monitor["MonitorSpecification"])["Tags"]["Values"] == ["binventory-dev"]
    assert flat(only(full, "AWS::CE::AnomalySubscription")["Properties"]["Subscribers"][0]["Address"]).startswith(
        "<Alerts"
    )
    assert not resources(templates("dev")["Money"], "AWS::CE::AnomalyMonitor")


def test_alarms_of_the_endpoint_reach_the_same_people() -> None:
    for alarm in resources(templates("dev")["Serving"], "AWS::CloudWatch::Alarm").values():
        assert "binventory-dev-money" in flat(alarm["Properties"]["AlarmActions"][0])
