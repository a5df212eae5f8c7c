"""The budget, the people it tells, and the guards that act when nobody does."""

from __future__ import annotations

import json

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_ce as ce
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from stacks import permissions
from stacks.base import BinventoryStack
from stacks.functions import module_function
from stacks.keys import Keys
from stacks.permissions import allow
from stacks.pipeline_names import pipeline_names
from stacks.settings import Settings
from stacks.settings_sections import ServingHours
from stacks.triggers import call_on_schedule, every

ALERT_PERCENTS = (50, 80, 100)
COST_TAG = "deployment"
_HOUR_MINUTES = 60


class MoneyStack(BinventoryStack):
    """Everything is told to one topic. What is turned off is turned off by updating the serving stack."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, variant: str, keys: Keys | None = None
    ) -> None:
        purpose = "the budget and its guards"
        super().__init__(scope, construct_id, settings=settings, role="money", purpose=purpose, keys=keys)
        self._variant = variant
        self._budget_name = settings.prefix
        self.alerts = self.topic("Alerts", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com")
        for address in settings.money.alert_emails:
            self.alerts.add_subscription(subscriptions.EmailSubscription(address))
        self._budget(self.topic("BudgetAlerts", "budgets.amazonaws.com"))
        if settings.money.idle_hours:
            self._idle_guard(settings.money.idle_hours)
        if settings.money.serving_hours:
            self._serving_hours(settings.money.serving_hours)
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
                cost_filters={"TagKeyValue": [f"user:{COST_TAG}${self.settings.prefix}"]},
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
        if money.guard_percent:
            self._budget_guard(topic)

    def _budget_guard(self, topic: sns.Topic) -> None:
        pipelines = pipeline_names(self.settings)
        guard = self._guard(
            "BudgetGuard",
            purpose="turns the endpoint off and stops executions when the budget is spent",
            module="budget_guard",
            environment={**self._budget_environment(), "PIPELINES": " ".join(pipelines)},
            statements=[
                permissions.view_budget(self, self._budget_name),
                permissions.stop_executions(self, *pipelines),
            ],
        )
        guard.add_event_source(sources.SnsEventSource(topic))

    def _idle_guard(self, hours: float) -> None:
        endpoint = self.settings.prefix
        guard = self._guard(
            "IdleGuard",
            purpose="turns the endpoint off when nobody has called it for a while",
            module="idle_guard",
            environment={"ENDPOINT": endpoint, "VARIANT": self._variant, "IDLE_SECONDS": f"{hours * 3600:.0f}"},
            statements=[
                allow(["sagemaker:DescribeEndpoint"], [permissions.sagemaker_arn(self, "endpoint", endpoint)]),
                # CloudWatch has no resource level for reading metrics.
                allow(["cloudwatch:GetMetricStatistics"], ["*"]),
            ],
        )
        # Four looks in the limit, but no more than one a minute and no less than one an hour.
        expression = every(min(_HOUR_MINUTES, hours * _HOUR_MINUTES / 4))
        call_on_schedule(self, "IdleGuardSchedule", guard, expression, "Looks whether the endpoint is idle")

    def _serving_hours(self, hours: ServingHours) -> None:
        guard = self._guard(
            "ServingHours",
            purpose="turns the endpoint on and off by the clock",
            module="serving_hours",
            environment=self._budget_environment(),
            statements=[permissions.view_budget(self, self._budget_name)],
            tells=False,
        )
        for state, clock in (("on", hours.start), ("off", hours.end)):
            hour, minute = (int(part) for part in clock.split(":"))
            call_on_schedule(
                self,
                f"Turn{state.title()}",
                guard,
                f"cron({minute} {hour} ? * {hours.days} *)",
                f"Turns the endpoint {state}",
                time_zone=hours.time_zone,
                event={"EndpointState": state},
            )

    def _guard(
        self,
        construct_id: str,
        *,
        purpose: str,
        module: str,
        environment: dict[str, str],
        statements: list[iam.PolicyStatement],
        tells: bool = True,
    ) -> lambda_.Function:
        """A function that changes the serving stack; one that `tells` may send people messages."""
        serving_stack = self.settings.stack_name("serving")
        topic = self.alerts.topic_arn
        return module_function(
            self,
            construct_id,
            stack=self,
            module=module,
            purpose=purpose,
            timeout=Duration.minutes(1),
            statements=[
                *permissions.change_stack(self, serving_stack),
                *([allow(["sns:Publish"], [topic])] if tells else []),
                *statements,
            ],
            environment={
                "SERVING_STACK": serving_stack,
                **({"ALERTS_TOPIC": topic} if tells else {}),
                **environment,
            },
            errors_to=self.alerts,
        )

    def _budget_environment(self) -> dict[str, str]:
        return {
            "ACCOUNT": self.account,
            "BUDGET": self._budget_name,
            "GUARD_PERCENT": str(self.settings.money.guard_percent),
        }

    def _anomalies(self, threshold_usd: float) -> None:
        monitor = ce.CfnAnomalyMonitor(
            self,
            "Anomalies",
            monitor_name=self.settings.prefix,
            monitor_type="CUSTOM",
            monitor_specification=json.dumps(
                {"Tags": {"Key": COST_TAG, "Values": [self.settings.prefix], "MatchOptions": ["EQUALS"]}}
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
