"""The alarms of the endpoint. They also roll back a deployment."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.settings.serving import ServingSettings

_MICROSECONDS = 1000
ALARMS = ("ServerErrors", "Latency")
"""Ends of their names, behind the endpoint's."""


class EndpointAlarms(Construct):
    """Alarms on server errors and slow answers. Missing data, from a quiet endpoint or none, raises no alarm."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ServingSettings,
        endpoint_name: str,
        variant: str,
        alerts: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerts = alerts
        self._endpoint_name = endpoint_name
        self._dimensions = [
            cloudwatch.CfnAlarm.DimensionProperty(name="EndpointName", value=endpoint_name),
            cloudwatch.CfnAlarm.DimensionProperty(name="VariantName", value=variant),
        ]
        self.alarms = (
            self._alarm(
                ALARMS[0],
                metric="Invocation5XXErrors",
                statistic="Sum",
                threshold=settings.server_errors_per_minute,
                description="The endpoint answers with server errors",
            ),
            self._alarm(
                ALARMS[1],
                metric="ModelLatency",
                statistic="p95",
                threshold=settings.latency_p95_milliseconds * _MICROSECONDS,
                description="One in twenty answers of the model takes too long",
            ),
        )

    def _alarm(
        self, construct_id: str, *, metric: str, statistic: str, threshold: int, description: str
    ) -> cloudwatch.CfnAlarm:
        is_percentile = statistic.startswith("p")
        return cloudwatch.CfnAlarm(
            self,
            construct_id,
            alarm_name=f"{self._endpoint_name}-{construct_id}",
            alarm_description=description,
            namespace="AWS/SageMaker",
            metric_name=metric,
            dimensions=self._dimensions,
            statistic=None if is_percentile else statistic,
            extended_statistic=statistic if is_percentile else None,
            period=60,
            threshold=threshold,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[self._alerts.topic_arn],
            ok_actions=[self._alerts.topic_arn],
        )
