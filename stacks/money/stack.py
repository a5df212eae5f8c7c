"""The budget and its alerts. The function that acts on them is in stacks/serving/reconcile.py."""

from __future__ import annotations

from aws_cdk import CfnOutput
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from stacks.money.budget import anomaly_alerts, budget_name, monthly_budget
from stacks.settings import Settings
from stacks.shared.keys import Keys
from stacks.shared.stack import BinventoryStack


class MoneyStack(BinventoryStack):
    """One topic carries alerts to people. Budget alerts have a second one, which the function subscribes to: what it
    publishes does not invoke it again."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, keys: Keys | None = None) -> None:
        purpose = "the budget and its alerts"
        super().__init__(scope, construct_id, settings=settings, role="money", purpose=purpose, keys=keys)
        self.alerts = self.topic("Alerts", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com")
        for address in settings.money.alert_emails:
            self.alerts.add_subscription(subscriptions.EmailSubscription(address))
        self.budget_alerts = self.topic("BudgetAlerts", "budgets.amazonaws.com")
        self.budget = budget_name(settings)
        monthly_budget(self, self.budget_alerts)
        if settings.money.anomaly_usd:
            anomaly_alerts(self, self.alerts, settings.money.anomaly_usd)
        self.always_export(self.alerts.topic_arn, self.budget_alerts.topic_arn)
        CfnOutput(self, "AlertsTopicArn", value=self.alerts.topic_arn)
        CfnOutput(self, "BudgetAlertsTopicArn", value=self.budget_alerts.topic_arn)
