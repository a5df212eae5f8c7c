"""Autoscaling of the endpoint: by invocations, or for asynchronous inference by the length of the queue."""

from __future__ import annotations

from aws_cdk import CfnResource
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker

from stacks.serving.endpoint import VARIANT
from stacks.shared.stack import BinventoryStack

BACKLOG_ALARM = "BacklogWithoutCapacity"
"""End of its name, behind the endpoint's."""
_POLICY = autoscaling.CfnScalingPolicy
_Tracking = _POLICY.TargetTrackingScalingPolicyConfigurationProperty
_TrackedMetric = _POLICY.PredefinedMetricSpecificationProperty


def autoscaling_of(stack: BinventoryStack, *, endpoint: sagemaker.CfnEndpoint, endpoint_name: str) -> list[CfnResource]:
    """The target and its policies."""
    serving = stack.settings.serving
    target = autoscaling.CfnScalableTarget(
        stack,
        "ScalableTarget",
        min_capacity=serving.min_instances,
        max_capacity=serving.max_instances,
        service_namespace="sagemaker",
        scalable_dimension="sagemaker:variant:DesiredInstanceCount",
        resource_id=f"endpoint/{endpoint_name}/variant/{VARIANT}",
    )
    target.add_resource_dependency(endpoint)
    if serving.mode == "async":
        return [target, *_by_backlog(stack, target, endpoint_name)]
    return [target, _by_invocations(stack, target, endpoint_name)]


def _by_invocations(stack: BinventoryStack, target: autoscaling.CfnScalableTarget, endpoint_name: str) -> CfnResource:
    return _POLICY(
        stack,
        "ScalingPolicy",
        policy_name=f"{endpoint_name}-invocations",
        policy_type="TargetTrackingScaling",
        scaling_target_id=target.ref,
        target_tracking_scaling_policy_configuration=_Tracking(
            target_value=stack.settings.serving.invocations_per_instance_minute,
            predefined_metric_specification=_TrackedMetric(
                predefined_metric_type="SageMakerVariantInvocationsPerInstance"
            ),
            scale_in_cooldown=300,
            scale_out_cooldown=60,
        ),
    )


def _by_backlog(stack: BinventoryStack, target: autoscaling.CfnScalableTarget, endpoint_name: str) -> list[CfnResource]:
    """By the length of the queue. A second policy starts the first machine when requests wait and there is none."""
    dimension = _POLICY.MetricDimensionProperty(name="EndpointName", value=endpoint_name)
    tracking = _POLICY(
        stack,
        "ScalingPolicy",
        policy_name=f"{endpoint_name}-backlog",
        policy_type="TargetTrackingScaling",
        scaling_target_id=target.ref,
        target_tracking_scaling_policy_configuration=_Tracking(
            target_value=stack.settings.serving.asynchronous.backlog_per_instance,
            customized_metric_specification=_POLICY.CustomizedMetricSpecificationProperty(
                metric_name="ApproximateBacklogSizePerInstance",
                namespace="AWS/SageMaker",
                dimensions=[dimension],
                statistic="Average",
            ),
            scale_in_cooldown=stack.settings.serving.asynchronous.idle_minutes * 60,
            scale_out_cooldown=60,
        ),
    )
    first = _POLICY(
        stack,
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
        stack,
        BACKLOG_ALARM,
        alarm_name=f"{endpoint_name}-{BACKLOG_ALARM}",
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
