"""Monitoring: the dashboard, the drift monitor with its alarm, and the retraining that may follow."""

from __future__ import annotations

from aws_cdk import CfnOutput
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.monitoring.dashboard import Dashboard
from stacks.monitoring.drift import drift_alarm, drift_monitor, retraining
from stacks.settings import Settings
from stacks.shared.stack import BinventoryStack
from stacks.shared.triggers import call_on_schedule, every
from stacks.storage.stack import StorageStack


class MonitoringStack(BinventoryStack):
    """It changes nothing, except that it may start the pipeline, where settings allow it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        alerts: sns.ITopic,
        budget: str,
        model_package_group: str,
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
        monitor = drift_monitor(self, storage, alerts, budget, model_package_group)
        call_on_schedule(
            self,
            "MonitorSchedule",
            monitor,
            every(settings.monitoring.look_every_minutes),
            "Looks whether the photos have drifted",
        )
        alarm = drift_alarm(self, alerts)
        if settings.monitoring.retrain:
            alarm.add_alarm_action(actions.SnsAction(retraining(self, alerts, budget)))
        Dashboard(self, "Overview", settings=settings, variant=variant, drift=alarm)
        CfnOutput(self, "DashboardName", value=settings.prefix)
