"""What differs between the ways to serve: production variant, queue and its scaling, rights."""

from __future__ import annotations

from collections.abc import Iterator

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns

from stacks.settings.serving import ServingSettings
from stacks.shared import permissions
from stacks.storage.buckets import ASYNC_PREFIX
from stacks.storage.stack import StorageStack

Variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty
Tracking = autoscaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty
VARIANT = "primary"
"""The endpoint's only variant. SageMaker keeps scaling and weights by its name, so it never changes."""
_ASYNC = sagemaker.CfnEndpointConfig
_POLICY = autoscaling.CfnScalingPolicy


def production_variant(settings: ServingSettings, *, name: str, model_name: str) -> Variant:
    """The endpoint's only variant."""
    if settings.mode == "serverless":
        return Variant(
            variant_name=name,
            model_name=model_name,
            initial_variant_weight=1,
            serverless_config=_ASYNC.ServerlessConfigProperty(
                memory_size_in_mb=settings.serverless.memory_mb, max_concurrency=settings.serverless.max_concurrency
            ),
        )
    return Variant(
        variant_name=name,
        model_name=model_name,
        instance_type=settings.instance_type,
        # An endpoint starts with a machine, which proves that it can; scaling takes it away.
        initial_instance_count=max(1, settings.min_instances),
        initial_variant_weight=1,
        container_startup_health_check_timeout_in_seconds=120,
    )


class AsyncEndpoint:
    """Where an asynchronous endpoint reads and writes, whom it tells, and how it scales."""

    def __init__(self, stack: Stack, settings: ServingSettings, storage: StorageStack, alerts: sns.ITopic) -> None:
        self._stack = stack
        self._settings = settings
        self._storage = storage
        topics = {"alerts": alerts.topic_arn, "none": None}
        own = settings.asynchronous
        self._success = topics.get(own.success_topic, own.success_topic)
        self._error = topics.get(own.error_topic, own.error_topic)

    @property
    def input_uri(self) -> str:
        """Where the client puts photos."""
        return self._uri("input")

    @property
    def config(self) -> sagemaker.CfnEndpointConfig.AsyncInferenceConfigProperty:
        """The endpoint configuration's part."""
        notified = self._success or self._error
        return _ASYNC.AsyncInferenceConfigProperty(
            client_config=_ASYNC.AsyncInferenceClientConfigProperty(
                max_concurrent_invocations_per_instance=self._settings.asynchronous.requests_per_instance
            ),
            output_config=_ASYNC.AsyncInferenceOutputConfigProperty(
                s3_output_path=self._uri("output"),
                s3_failure_path=self._uri("failures"),
                notification_config=_ASYNC.AsyncInferenceNotificationConfigProperty(
                    success_topic=self._success, error_topic=self._error
                )
                if notified
                else None,
            ),
        )

    def statements(self) -> Iterator[iam.PolicyStatement]:
        """What the endpoint's role needs besides."""
        yield from permissions.read_and_write_objects(self._storage.data_bucket.bucket_arn, ASYNC_PREFIX)
        topics = sorted({topic for topic in (self._success, self._error) if topic})
        if topics:
            yield permissions.allow(["sns:Publish"], topics)

    def scaling(self, target: autoscaling.CfnScalableTarget, endpoint_name: str) -> list[CfnResource]:
        """By what waits in the queue; the first machine comes when something waits and there is none."""
        dimension = _POLICY.MetricDimensionProperty(name="EndpointName", value=endpoint_name)
        tracking = _POLICY(
            self._stack,
            "ScalingPolicy",
            policy_name=f"{endpoint_name}-backlog",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=Tracking(
                target_value=self._settings.asynchronous.backlog_per_instance,
                customized_metric_specification=_POLICY.CustomizedMetricSpecificationProperty(
                    metric_name="ApproximateBacklogSizePerInstance",
                    namespace="AWS/SageMaker",
                    dimensions=[dimension],
                    statistic="Average",
                ),
                scale_in_cooldown=self._settings.asynchronous.idle_minutes * 60,
                scale_out_cooldown=60,
            ),
        )
        first = _POLICY(
            self._stack,
            "FirstInstance",
            policy_name=f"{endpoint_name}-first-instance",
            policy_type="StepScaling",
            scaling_target_id=target.ref,
            step_scaling_policy_configuration=_POLICY.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                metric_aggregation_type="Average",
                cooldown=300,
                step_adjustments=[_POLICY.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=1)],
            ),
        )
        waiting = cloudwatch.CfnAlarm(
            self._stack,
            "BacklogWithoutCapacity",
            alarm_name=f"{endpoint_name}-BacklogWithoutCapacity",
            alarm_description="Requests wait and no machine is there; the first one is started",
            namespace="AWS/SageMaker",
            metric_name="HasBacklogWithoutCapacity",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="EndpointName", value=endpoint_name)],
            statistic="Average",
            period=60,
            threshold=1,
            evaluation_periods=2,
            datapoints_to_alarm=2,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="missing",
            alarm_actions=[first.ref],
        )
        return [tracking, first, waiting]

    def _uri(self, folder: str) -> str:
        return f"s3://{self._storage.data_bucket.bucket_name}/{ASYNC_PREFIX}/{folder}/"
