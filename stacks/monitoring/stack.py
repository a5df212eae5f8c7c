"""What watches the system: the dashboard, the drift monitor, its alarm, and the retraining that may follow."""

from __future__ import annotations

import json

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.monitoring.dashboard import MONITORING, Dashboard
from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.functions import module_function
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.shared.triggers import call_on_schedule, every
from stacks.storage.buckets import EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack


class MonitoringStack(BinventoryStack):
    """It changes nothing but, where settings allow it, the number of pipeline executions."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        alerts: sns.ITopic,
        variant: str,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            settings=settings,
            role="monitoring",
            purpose="the dashboard and the drift monitor",
            keys=storage.keys,
        )
        self._alerts = alerts
        monitor = self._monitor(storage)
        call_on_schedule(
            self,
            "MonitorSchedule",
            monitor,
            every(settings.monitoring.look_every_minutes),
            "Looks whether the photos have drifted",
        )
        alarm = self._drift_alarm()
        if settings.monitoring.retrain:
            alarm.add_alarm_action(actions.SnsAction(self._retraining()))
        Dashboard(self, "Overview", settings=settings, variant=variant, drift=alarm)
        CfnOutput(self, "DashboardName", value=settings.prefix)

    def _monitor(self, storage: StorageStack) -> lambda_.Function:
        monitoring = self.settings.monitoring
        name = self.settings.prefix
        serving_stack = self.settings.stack_name("serving")
        log_group = f"/aws/sagemaker/Endpoints/{name}"
        log_group_arn = permissions.log_group_arn(self, log_group)
        return self._function(
            "Monitor",
            purpose="compares the endpoint's answers with its model's evaluation",
            module="drift_monitor",
            statements=[
                allow(["cloudformation:DescribeStacks"], [permissions.stack_arn(self, serving_stack)]),
                allow(
                    ["sagemaker:DescribeModelPackage"], [permissions.sagemaker_arn(self, "model-package", f"{name}/*")]
                ),
                allow(["s3:GetObject"], [storage.model_bucket.arn_for_objects(f"{EXECUTIONS_PREFIX}/*")]),
                allow(["logs:FilterLogEvents"], [log_group_arn, f"{log_group_arn}:*"]),
                permissions.put_metrics(MONITORING),
            ],
            environment={
                "SERVING_STACK": serving_stack,
                "ENDPOINT": name,
                "ENDPOINT_LOGS": log_group,
                "WINDOW_SECONDS": f"{monitoring.window_hours * 3600:.0f}",
                "MINIMUM_PHOTOS": str(monitoring.minimum_photos),
                "COUNT_SHIFT_THRESHOLD": str(monitoring.count_shift_threshold),
                "CONFIDENCE_SHIFT_THRESHOLD": str(monitoring.confidence_shift_threshold),
                "COUNT_SHARES": json.dumps(monitoring.count_shares, sort_keys=True),
            },
        )

    def _drift_alarm(self) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            "Drift",
            alarm_name=f"{self.settings.prefix}-drift",
            alarm_description=(
                "The photos differ from those the model was evaluated on: the monitor's log says how, "
                "docs/monitoring.md what to do"
            ),
            metric=cloudwatch.Metric(
                namespace=MONITORING,
                metric_name="Drift",
                dimensions_map={"Endpoint": self.settings.prefix},
                statistic="Maximum",
                period=Duration.minutes(self.settings.monitoring.look_every_minutes),
            ),
            threshold=1,
            evaluation_periods=1,
            # Without photos, or with the endpoint off, nobody knows better than the last look did.
            treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
        )
        alarm.add_alarm_action(actions.SnsAction(self._alerts))
        alarm.add_ok_action(actions.SnsAction(self._alerts))
        return alarm

    def _retraining(self) -> sns.Topic:
        pipeline = self.settings.prefix
        topic = self.topic("DriftTopic", "cloudwatch.amazonaws.com")
        retraining = self._function(
            "Retraining",
            purpose="starts the pipeline when the photos have drifted",
            module="retraining",
            statements=[
                allow(
                    ["sagemaker:ListPipelineExecutions", "sagemaker:StartPipelineExecution"],
                    [permissions.sagemaker_arn(self, "pipeline", pipeline)],
                ),
                allow(["sns:Publish"], [self._alerts.topic_arn]),
            ],
            environment={
                "PIPELINE": pipeline,
                "RETRAIN_DAYS": str(self.settings.monitoring.retrain_days),
                "GUARD_PERCENT": str(self.settings.money.guard_percent),
                "ALERTS_TOPIC": self._alerts.topic_arn,
            },
        )
        retraining.add_event_source(sources.SnsEventSource(topic))
        return topic

    def _function(
        self,
        construct_id: str,
        *,
        purpose: str,
        module: str,
        statements: list[iam.PolicyStatement],
        environment: dict[str, str],
    ) -> lambda_.Function:
        budget = self.settings.prefix
        return module_function(
            self,
            construct_id,
            stack=self,
            module=module,
            purpose=purpose,
            timeout=Duration.minutes(5),
            statements=[permissions.view_budget(self, budget), *statements],
            environment={"ACCOUNT": self.account, "BUDGET": budget, **environment},
            errors_to=self._alerts,
        )
