"""The monthly budget and the detection of unusual cost."""

from __future__ import annotations

import hashlib
import json

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_ce as ce
from aws_cdk import aws_sns as sns

from stacks.settings import Settings
from stacks.shared.permissions import DEPLOYMENT_TAG
from stacks.shared.stack import BinventoryStack

ALERT_PERCENTS = (50, 80, 100)


def budget_name(settings: Settings) -> str:
    """Name of the budget: the environment's, and a hash of its alerts.

    CloudFormation cannot change the alerts of a budget: it creates another budget and then deletes the old one. Names
    are unique in an account, so other alerts need another name.
    """
    chosen = json.dumps([_alerts(settings), settings.money.alert_emails])
    return f"{settings.prefix}-{hashlib.sha256(chosen.encode()).hexdigest()[:8]}"


def _alerts(settings: Settings) -> list[tuple[str, float]]:
    """Kind and share of the budget, in per cent, of each alert."""
    guard = settings.money.guard_percent
    percents = sorted({*ALERT_PERCENTS, *([guard] if guard else [])})
    return [*(("ACTUAL", float(percent)) for percent in percents), ("FORECASTED", 100.0)]


def monthly_budget(stack: BinventoryStack, topic: sns.ITopic) -> None:
    """The budget for all costs with the deployment tag. Its alerts go to the topic and to the mail addresses."""
    money = stack.settings.money
    subscribers = [("SNS", topic.topic_arn), *(("EMAIL", address) for address in money.alert_emails)]
    budget = budgets.CfnBudget(
        stack,
        "Budget",
        budget=budgets.CfnBudget.BudgetDataProperty(
            budget_name=budget_name(stack.settings),
            budget_type="COST",
            time_unit="MONTHLY",
            budget_limit=budgets.CfnBudget.SpendProperty(amount=money.monthly_budget_usd, unit="USD"),
            # Costs carry the tag after it is activated as a cost allocation tag in the billing console.
            # Without these, an account with credits spends nothing: neither an alert nor the guard would act.
            cost_types=budgets.CfnBudget.CostTypesProperty(include_credit=False, include_refund=False),
            cost_filters={"TagKeyValue": [f"user:{DEPLOYMENT_TAG}${stack.settings.prefix}"]},
        ),
        notifications_with_subscribers=[
            budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                ),
                subscribers=[
                    budgets.CfnBudget.SubscriberProperty(subscription_type=way, address=address)
                    for way, address in subscribers
                ],
            )
            for kind, percent in _alerts(stack.settings)
        ],
        resource_tags=[
            budgets.CfnBudget.ResourceTagProperty(key=key, value=value)
            for key, value in stack.settings.all_tags.items()
        ],
    )
    # With its policy: who subscribes a topic must be able to publish to it.
    budget.node.add_dependency(topic)


def anomaly_alerts(stack: BinventoryStack, topic: sns.ITopic, threshold_usd: float) -> None:
    """AWS Cost Anomaly Detection for the same costs; it publishes what exceeds the threshold to the topic."""
    monitor = ce.CfnAnomalyMonitor(
        stack,
        "Anomalies",
        monitor_name=stack.settings.prefix,
        monitor_type="CUSTOM",
        monitor_specification=json.dumps(
            # Without MatchOptions, which are for cost categories only.
            {"Tags": {"Key": DEPLOYMENT_TAG, "Values": [stack.settings.prefix]}}
        ),
    )
    subscription = ce.CfnAnomalySubscription(
        stack,
        "AnomalyAlerts",
        subscription_name=stack.settings.prefix,
        frequency="IMMEDIATE",
        monitor_arn_list=[monitor.attr_monitor_arn],
        subscribers=[ce.CfnAnomalySubscription.SubscriberProperty(type="SNS", address=topic.topic_arn)],
        threshold_expression=json.dumps(
            {
                "Dimensions": {
                    "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                    "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
                    "Values": [str(threshold_usd)],
                }
            }
        ),
    )
    subscription.node.add_dependency(topic)
