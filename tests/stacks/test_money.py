"""The budget: what it counts, and who gets which alert. tests/stacks/test_reconcile_stack.py: who acts on it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.money.budget import ALERT_PERCENTS
from stacks.settings import load
from tests.stacks.templates import as_list, changed, flat, only, resources, statements, synthesize, templates


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    """The stack with everything that can be asked for."""
    settings = changed(
        load("dev"),
        "money",
        alert_emails=["ops@example.com"],
        guard_percent=90,
        anomaly_usd=10,
    )
    return synthesize(settings)["Money"]


def test_the_budget_is_that_of_the_tag(full: dict[str, Any]) -> None:
    budget = only(full, "AWS::Budgets::Budget")["Properties"]
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:deployment$binventory-dev"]}
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    assert budget["Budget"]["CostTypes"] == {"IncludeCredit": False, "IncludeRefund": False}
    assert {tag["Key"] for tag in budget["ResourceTags"]} == {"deployment", "environment", "project"}


def test_people_and_the_guard_hear_of_each_share_and_of_the_forecast(full: dict[str, Any]) -> None:
    alerts = only(full, "AWS::Budgets::Budget")["Properties"]["NotificationsWithSubscribers"]
    sent = {(item["Notification"]["NotificationType"], item["Notification"]["Threshold"]) for item in alerts}
    assert sent == {*(("ACTUAL", percent) for percent in (*ALERT_PERCENTS, 90)), ("FORECASTED", 100)}
    assert len(alerts) <= 5  # AWS takes no more for one budget
    for item in alerts:
        assert [entry["SubscriptionType"] for entry in item["Subscribers"]] == ["SNS", "EMAIL"]
        assert flat(item["Subscribers"][0]["Address"]).startswith("<BudgetAlerts")


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


def test_a_topic_lets_aws_publish_before_anything_subscribes_it(full: dict[str, Any]) -> None:
    policies = {
        flat(item["Properties"]["Topics"][0]): name for name, item in resources(full, "AWS::SNS::TopicPolicy").items()
    }
    budget, anomalies = only(full, "AWS::Budgets::Budget"), only(full, "AWS::CE::AnomalySubscription")
    alerts = budget["Properties"]["NotificationsWithSubscribers"][0]["Subscribers"]
    for resource, subscribers in ((budget, alerts), (anomalies, anomalies["Properties"]["Subscribers"])):
        assert policies[flat(subscribers[0]["Address"])] in resource["DependsOn"]


def test_both_topics_are_named_for_who_wants_to_hear_of_alerts() -> None:
    outputs = templates("prod")["Money"]["Outputs"]
    named = {flat(outputs[name]["Value"]) for name in ("AlertsTopicArn", "BudgetAlertsTopicArn")}
    assert named == {f"<{topic}>" for topic in resources(templates("prod")["Money"], "AWS::SNS::Topic")}


def test_it_publishes_alerts_and_does_not_act(full: dict[str, Any]) -> None:
    for template in (full, templates("prod")["Money"]):
        assert only(template, "AWS::Budgets::Budget")
        assert not resources(template, "AWS::Lambda::Function")
        assert not resources(template, "AWS::Scheduler::Schedule")
        assert not list(statements(template))


def test_anomalies_are_watched_when_asked_for(full: dict[str, Any]) -> None:
    monitor = only(full, "AWS::CE::AnomalyMonitor")["Properties"]
    # The form that AWS's AnomalyMonitor documents for cost allocation tags.
    assert json.loads(monitor["MonitorSpecification"]) == {"Tags": {"Key": "deployment", "Values": ["binventory-dev"]}}
    assert flat(only(full, "AWS::CE::AnomalySubscription")["Properties"]["Subscribers"][0]["Address"]).startswith(
        "<Alerts"
    )
    assert not resources(templates("dev")["Money"], "AWS::CE::AnomalyMonitor")


def test_alarms_of_the_endpoint_reach_the_same_people() -> None:
    for alarm in resources(templates("dev")["Serving"], "AWS::CloudWatch::Alarm").values():
        assert "binventory-dev-money" in flat(alarm["Properties"]["AlarmActions"][0])
