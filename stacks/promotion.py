"""Promotion: approving a model package puts it behind the endpoint."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks import permissions
from stacks.base import BinventoryStack
from stacks.functions import PROMOTION_CODE, FunctionProperties, PythonFunction
from stacks.permissions import allow


class Promotion(Construct):
    """The rule and its function, which may update one stack by its own template and nothing else."""

    def __init__(
        self, scope: BinventoryStack, construct_id: str, *, model_package_group: str, alerts: sns.ITopic
    ) -> None:
        super().__init__(scope, construct_id)
        prefix = scope.settings.prefix
        serving_stack = scope.settings.stack_name("serving")
        packages = scope.format_arn(
            service="sagemaker", resource="model-package", resource_name=f"{model_package_group}/*"
        )
        function = PythonFunction(
            self,
            "Promote",
            stack=scope,
            of=FunctionProperties(
                name=f"{prefix}-promotion",
                purpose="updates the serving stack when a model package is approved",
                code=PROMOTION_CODE,
                handler="promotion.handler",
                # A stack that is busy with the previous promotion is waited for; Lambda allows 15 minutes.
                timeout=Duration.minutes(15),
                statements=[
                    *permissions.change_stack(scope, serving_stack),
                    allow(["sagemaker:DescribeModelPackage"], [packages]),
                ],
                environment={"MODEL_PACKAGE_GROUP": model_package_group, "SERVING_STACK": serving_stack},
                errors_to=alerts,
            ),
        ).function
        function.configure_async_invoke(retry_attempts=2, max_event_age=Duration.hours(6))
        events.Rule(
            self,
            "Approved",
            rule_name=f"{prefix}-model-approved",
            description="A model package of this environment was approved",
            event_pattern=events.EventPattern(
                source=["aws.sagemaker"],
                detail_type=["SageMaker Model Package State Change"],
                detail={"ModelPackageGroupName": [model_package_group], "ModelApprovalStatus": ["Approved"]},
            ),
            targets=[targets.LambdaFunction(function, retry_attempts=10, max_event_age=Duration.hours(6))],
        )
