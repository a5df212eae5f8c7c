"""Promotion: approving a model package puts it behind the endpoint."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks import permissions
from stacks.assets import REPOSITORY
from stacks.base import BinventoryStack
from stacks.permissions import allow

PROMOTION_CODE = REPOSITORY / "promotion_code"


class Promotion(Construct):
    """The rule, the function and its role. The function may update one stack by its own template, and nothing else."""

    def __init__(
        self, scope: BinventoryStack, construct_id: str, *, model_package_group: str, serving_stack: str
    ) -> None:
        super().__init__(scope, construct_id)
        function_name = f"{scope.settings.prefix}-promotion"
        log_group = scope.log_group(self, "Logs", f"/aws/lambda/{function_name}")
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"{scope.settings.prefix}: updates the serving stack when a model package is approved",
        )
        iam.Policy(
            self,
            "Policy",
            roles=[role],
            statements=[
                permissions.write_log_streams(log_group),
                *permissions.change_stack(scope, serving_stack),
                allow(
                    ["sagemaker:DescribeModelPackage"],
                    [
                        scope.format_arn(
                            service="sagemaker", resource="model-package", resource_name=f"{model_package_group}/*"
                        )
                    ],
                ),
            ],
        )
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            description="Updates the serving stack when a model package is approved",
            runtime=lambda_.Runtime.PYTHON_3_14,
            handler="promotion.handler",
            code=lambda_.Code.from_asset(str(PROMOTION_CODE), exclude=["**/__pycache__", "**/.*"]),
            role=role,
            log_group=log_group,
            memory_size=256,
            # A stack that is busy with the previous promotion is waited for; Lambda allows 15 minutes.
            timeout=Duration.minutes(15),
            environment={"MODEL_PACKAGE_GROUP": model_package_group, "SERVING_STACK": serving_stack},
        )
        self.function.configure_async_invoke(retry_attempts=2, max_event_age=Duration.hours(6))
        events.Rule(
            self,
            "Approved",
            rule_name=f"{scope.settings.prefix}-model-approved",
            description="A model package of this environment was approved",
            event_pattern=events.EventPattern(
                source=["aws.sagemaker"],
                detail_type=["SageMaker Model Package State Change"],
                detail={"ModelPackageGroupName": [model_package_group], "ModelApprovalStatus": ["Approved"]},
            ),
            targets=[targets.LambdaFunction(self.function, retry_attempts=10, max_event_age=Duration.hours(6))],
        )
