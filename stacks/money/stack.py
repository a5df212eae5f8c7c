"""The budget and the people that it tells. Who acts on it is in stacks/serving/reconcile.py."""

from __future__ import annotations

import json

from aws_cdk import CfnOutput
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_ce as ce
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from stacks.settings import Settings
from stacks.shared.keys import Keys
from stacks.shared.permissions import DEPLOYMENT_TAG
from stacks.shared.stack import BinventoryStack

ALERT_PERCENTS = (50, 80, 100)


class MoneyStack(BinventoryStack):
    """People hear everything on one topic; the budget has one beside it, so that no function hears its own words."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, keys: Keys | None = None) -> None:
        purpose = "the budget and its alerts"
        super().__init__(scope, construct_id, settings=settings, role="money", purpose=purpose, keys=keys)
        self._budget_name = settings.prefix
        self.alerts = self.topic("Alerts", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com")
        for address in settings.money.alert_emails:
            self.alerts.add_subscription(subscriptions.EmailSubscription(address))
        self.budget_alerts = self.topic("BudgetAlerts", "budgets.amazonaws.com")
        self._budget(self.budget_alerts)
        if settings.money.anomaly_usd:
            self._anomalies(settings.money.anomaly_usd)
        CfnOutput(self, "AlertsTopicArn", value=self.alerts.topic_arn)

    def _budget(self, topic: sns.Topic) -> None:
        money = self.settings.money
        percents = sorted({*ALERT_PERCENTS, *([money.guard_percent] if money.guard_percent else [])})
        alerts = [("ACTUAL", percent) for percent in percents] + [("FORECASTED", 100)]
        subscribers = [("SNS", topic.topic_arn), *(("EMAIL", address) for address in money.alert_emails)]
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=self._budget_name,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=money.monthly_budget_usd, unit="USD"),
                # Costs carry the tag once it is activated as a cost-allocation tag in the billing console.
                cost_filters={"TagKeyValue": [f"user:{DEPLOYMENT_TAG}${self.settings.prefix}"]},
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
                for kind, percent in alerts
            ],
            resource_tags=[
                budgets.CfnBudget.ResourceTagProperty(key=key, value=value)
                for key, value in self.settings.all_tags.items()
            ],
        )

    def _anomalies(self, threshold_usd: float) -> None:
        monitor = ce.CfnAnomalyMonitor(
            self,
            "Anomalies",
            monitor_name=self.settings.prefix,
            monitor_type="CUSTOM",
            monitor_specification=json.dumps(
                {"Tags": {"Key": DEPLOYMENT_TAG, "Values": [self.settings.prefix], "MatchOptions": ["EQUALS"]}}
            ),
        )
        ce.CfnAnomalySubscription(
            self,
            "AnomalyAlerts",
            subscription_name=self.settings.prefix,
            frequency="IMMEDIATE",
            monitor_arn_list=[monitor.attr_monitor_arn],
            subscribers=[ce.CfnAnomalySubscription.SubscriberProperty(type="SNS", address=self.alerts.topic_arn)],
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
