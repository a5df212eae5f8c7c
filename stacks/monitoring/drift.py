"""Data drift: the function that measures it, its alarm, and the retraining that may follow."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sns as sns

from stacks.environments import DriftMonitorEnvironment, RetrainingEnvironment
from stacks.monitoring.dashboard import MONITORING
from stacks.names import endpoint_log_group, pipeline_names
from stacks.shared import permissions
from stacks.shared.functions import module_function
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack


def drift_monitor(
    stack: BinventoryStack, storage: StorageStack, alerts: sns.ITopic, budget: str, group: str
) -> lambda_.Function:
    """The function that compares the endpoint's answers with its model's evaluation, and publishes metrics."""
    monitoring = stack.settings.monitoring
    name = stack.settings.prefix
    serving_stack = stack.settings.stack_name("serving")
    log_group = endpoint_log_group(name)
    log_group_arn = permissions.log_group_arn(stack, log_group)
    return _function(
        stack,
        "Monitor",
        errors_to=alerts,
        purpose="compares the endpoint's answers with its model's evaluation",
        module="drift_monitor",
        statements=[
            allow(["cloudformation:DescribeStacks"], [permissions.stack_arn(stack, serving_stack)]),
            allow(
                ["sagemaker:DescribeModelPackage"], [permissions.sagemaker_arn(stack, "model-package", f"{group}/*")]
            ),
            allow(["s3:GetObject"], [storage.model_bucket.arn_for_objects(f"{EXECUTIONS_PREFIX}/*")]),
            allow(["logs:FilterLogEvents"], [log_group_arn, f"{log_group_arn}:*"]),
            permissions.put_metrics(MONITORING),
        ],
        environment=DriftMonitorEnvironment(
            account=stack.account,
            budget=budget,
            confidence_shift_threshold=monitoring.confidence_shift_threshold,
            count_shares={str(count): share for count, share in monitoring.count_shares.items()},
            count_shift_threshold=monitoring.count_shift_threshold,
            endpoint=name,
            endpoint_logs=log_group,
            minimum_photos=monitoring.minimum_photos,
            serving_stack=serving_stack,
            window_seconds=round(monitoring.window_hours * 3600),
        ),
    )


def drift_alarm(stack: BinventoryStack, alerts: sns.ITopic) -> cloudwatch.Alarm:
    """The alarm on the metric that the monitor publishes."""
    alarm = cloudwatch.Alarm(
        stack,
        "Drift",
        alarm_name=f"{stack.settings.prefix}-drift",
        alarm_description=(
            "The photos differ from those the model was evaluated on: the monitor's log says how, "
            "docs/monitoring.md what to do"
        ),
        metric=cloudwatch.Metric(
            namespace=MONITORING,
            metric_name="Drift",
            dimensions_map={"Endpoint": stack.settings.prefix},
            statistic="Maximum",
            period=Duration.minutes(stack.settings.monitoring.look_every_minutes),
        ),
        threshold=1,
        evaluation_periods=1,
        # No data, because there were no photos or the endpoint is off: keep the last state.
        treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
    )
    alarm.add_alarm_action(actions.SnsAction(alerts))
    alarm.add_ok_action(actions.SnsAction(alerts))
    return alarm


def retraining(stack: BinventoryStack, alerts: sns.ITopic, budget: str) -> sns.Topic:
    """The topic for the drift alarm, and the subscribed function that starts the pipeline."""
    started, *continuing = pipeline_names(stack.settings.prefix, continuing=stack.settings.continues_on_demand)
    topic = stack.topic("DriftTopic", "cloudwatch.amazonaws.com")
    function = _function(
        stack,
        "Retraining",
        errors_to=alerts,
        purpose="starts the pipeline when the photos have drifted",
        module="retraining",
        statements=[
            allow(
                ["sagemaker:ListPipelineExecutions"],
                [permissions.sagemaker_arn(stack, "pipeline", name) for name in (started, *continuing)],
            ),
            allow(["sagemaker:StartPipelineExecution"], [permissions.sagemaker_arn(stack, "pipeline", started)]),
            allow(["sns:Publish"], [alerts.topic_arn]),
        ],
        environment=RetrainingEnvironment(
            account=stack.account,
            alerts_topic=alerts.topic_arn,
            budget=budget,
            guard_percent=stack.settings.money.guard_percent,
            pipelines=(started, *continuing),
            retrain_days=stack.settings.monitoring.retrain_days,
        ),
    )
    function.add_event_source(sources.SnsEventSource(topic))
    return topic


def _function(
    stack: BinventoryStack,
    construct_id: str,
    *,
    errors_to: sns.ITopic,
    purpose: str,
    module: str,
    statements: list[iam.PolicyStatement],
    environment: DriftMonitorEnvironment | RetrainingEnvironment,
) -> lambda_.Function:
    return module_function(
        stack,
        construct_id,
        stack=stack,
        module=module,
        purpose=purpose,
        timeout=Duration.minutes(5),
        statements=[permissions.view_budget(stack, environment.budget), *statements],
        environment=environment,
        errors_to=errors_to,
    )
