"""The function that brings the serving stack to the wanted state, and the events and schedules that invoke it.

The training stack deploys it, because the function updates the serving stack.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk.aws_scheduler import ContextAttribute
from constructs import Construct

from stacks.environments import ReconcileEnvironment
from stacks.names import RECONCILE_SECONDS, pipeline_names
from stacks.serving.endpoint import VARIANT
from stacks.serving.update_role import ServingUpdateRole
from stacks.settings.money import ServingHours
from stacks.shared import permissions
from stacks.shared.functions import module_function
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.shared.triggers import EVENT_RETRY_WINDOW, call_on_event, call_on_schedule, every
from stacks.storage.buckets import ENDPOINT_PREFIX

SETTLED = (
    *("CREATE_COMPLETE", "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"),
    *("UPDATE_COMPLETE", "UPDATE_FAILED", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"),
    *("IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_FAILED", "DELETE_COMPLETE", "DELETE_FAILED"),
)
"""The states of a stack in which no operation is running."""
_SLOWEST_MINUTES = 15
_HOUR_MINUTES = 60


class Reconcile(Construct):
    """One function, which may update one stack. Every change invokes it, and a schedule, in case an event is lost."""

    def __init__(
        self,
        scope: BinventoryStack,
        construct_id: str,
        *,
        memory: s3.IBucket,
        alerts: sns.ITopic,
        budget_alerts: sns.ITopic,
        budget: str,
        model_package_group: str,
        update_role: ServingUpdateRole,
    ) -> None:
        super().__init__(scope, construct_id)
        self._stack = scope
        self._budget = budget
        self._group = model_package_group
        self._update_role = update_role.role
        self._settings = scope.settings
        self._serving_stack = scope.settings.stack_name("serving")
        self._pipelines = pipeline_names(self._settings.prefix, continuing=self._settings.continues_on_demand)
        self._function = self._make(memory, alerts)
        # The first event calls it, and then the role's rights must be there.
        self._function.node.add_dependency(update_role)
        self._function.configure_async_invoke(retry_attempts=2, max_event_age=EVENT_RETRY_WINDOW)
        self._call_on_changes()
        if self._settings.money.guard_percent:
            self._function.add_event_source(sources.SnsEventSource(budget_alerts))
        idle_minutes = self._settings.money.idle_hours * _HOUR_MINUTES
        # At least four looks within the idle time.
        minutes = min(_SLOWEST_MINUTES, idle_minutes / 4 or _SLOWEST_MINUTES)
        call_on_schedule(self, "Schedule", self._function, every(minutes), "Compares what should serve with what does")
        if self._settings.money.serving_hours:
            self._call_on_serving_hours(self._settings.money.serving_hours)

    def _make(self, memory: s3.IBucket, alerts: sns.ITopic) -> lambda_.Function:
        money, prefix = self._settings.money, self._settings.prefix
        return module_function(
            self,
            "Function",
            stack=self._stack,
            module="reconcile",
            purpose="makes the endpoint serve what should serve",
            timeout=Duration.seconds(RECONCILE_SECONDS),
            statements=self._statements(memory, alerts),
            environment=ReconcileEnvironment(
                account=self._stack.account,
                alerts_topic=alerts.topic_arn,
                budget=self._budget,
                endpoint=prefix,
                guard_percent=money.guard_percent,
                idle_seconds=round(money.idle_hours * 3600),
                memory_bucket=memory.bucket_name,
                model_package_group=self._group,
                pipelines=self._pipelines,
                serving_stack=self._serving_stack,
                update_role=self._update_role.role_arn,
                variant=VARIANT,
            ),
            errors_to=alerts,
        )

    def _statements(self, memory: s3.IBucket, alerts: sns.ITopic) -> list[iam.PolicyStatement]:
        stack, money, prefix = self._stack, self._settings.money, self._settings.prefix
        packages = permissions.sagemaker_arn(stack, "model-package", f"{self._group}/*")
        statements = [
            *permissions.change_stack(stack, self._serving_stack, self._update_role.role_arn),
            allow(["sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages"], [packages]),
            # It rejects packages whose rollout failed. Only people approve.
            allow(
                ["sagemaker:UpdateModelPackage"],
                [packages],
                {"StringEquals": {"sagemaker:ModelApprovalStatus": "Rejected"}},
            ),
            allow(["sagemaker:DescribeEndpoint"], [permissions.sagemaker_arn(stack, "endpoint", prefix)]),
            *permissions.delete_replaced(stack, prefix),
            allow(
                ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"], [memory.arn_for_objects(f"{ENDPOINT_PREFIX}/*")]
            ),
            permissions.list_objects(memory.bucket_arn, ENDPOINT_PREFIX),
            allow(["sns:Publish"], [alerts.topic_arn]),
        ]
        if money.idle_hours:
            # CloudWatch knows no resource for reading metrics.
            statements.append(allow(["cloudwatch:GetMetricStatistics"], ["*"]))
        if money.guard_percent:
            statements.append(permissions.view_budget(stack, self._budget))
            statements.append(permissions.stop_executions(stack, *self._pipelines))
        return statements

    def _call_on_changes(self) -> None:
        prefix = self._settings.prefix
        call_on_event(
            self,
            "Package",
            self._function,
            name=f"{prefix}-model-package",
            description="A model package of this environment was registered, approved or rejected",
            source="aws.sagemaker",
            detail_type="SageMaker Model Package State Change",
            detail={"ModelPackageGroupName": [self._group]},
        )
        call_on_event(
            self,
            "Settled",
            self._function,
            name=f"{prefix}-serving-settled",
            description="An update of the serving stack has ended",
            source="aws.cloudformation",
            detail_type="CloudFormation Stack Status Change",
            detail={
                "stack-id": events.Match.prefix(
                    permissions.stack_arn(self._stack, self._serving_stack).removesuffix("*")
                ),
                "status-details": {"status": list(SETTLED)},
            },
        )
        call_on_event(
            self,
            "Endpoint",
            self._function,
            name=f"{prefix}-endpoint-changed",
            description="The endpoint has changed its state",
            source="aws.sagemaker",
            detail_type="SageMaker Endpoint State Change",
            detail={"EndpointName": [prefix]},
        )

    def _call_on_serving_hours(self, hours: ServingHours) -> None:
        for state, clock in (("on", hours.start), ("off", hours.end)):
            hour, minute = (int(part) for part in clock.split(":"))
            call_on_schedule(
                self,
                f"Turn{state.title()}",
                self._function,
                f"cron({minute} {hour} ? * {hours.days} *)",
                f"Turns the endpoint {state}",
                time_zone=hours.time_zone,
                # EventBridge delivers at least once. By this time the function tells a repeated event.
                event={"endpoint": state, "by": "the serving hours", "at": ContextAttribute.scheduled_time},
            )
