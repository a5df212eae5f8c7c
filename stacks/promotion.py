"""Promotion: approving a model package puts it behind the endpoint."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks import permissions
from stacks.base import BinventoryStack
from stacks.functions import module_function
from stacks.permissions import allow
from stacks.triggers import KEPT, call_on_event


class Promotion(Construct):
    """The rule and its function, which may update one stack by its own template and nothing else."""

    def __init__(
        self, scope: BinventoryStack, construct_id: str, *, model_package_group: str, alerts: sns.ITopic
    ) -> None:
        super().__init__(scope, construct_id)
        prefix = scope.settings.prefix
        serving_stack = scope.settings.stack_name("serving")
        packages = permissions.sagemaker_arn(scope, "model-package", f"{model_package_group}/*")
        function = module_function(
            self,
            "Promote",
            stack=scope,
            module="promotion",
            purpose="updates the serving stack when a model package is approved",
            # A stack that is busy with the previous promotion is waited for; Lambda allows 15 minutes.
            timeout=Duration.minutes(15),
            statements=[
                *permissions.change_stack(scope, serving_stack),
                allow(["sagemaker:DescribeModelPackage"], [packages]),
            ],
            environment={"MODEL_PACKAGE_GROUP": model_package_group, "SERVING_STACK": serving_stack},
            errors_to=alerts,
        )
        function.configure_async_invoke(retry_attempts=2, max_event_age=KEPT)
        call_on_event(
            self,
            "Approved",
            function,
            name=f"{prefix}-model-approved",
            description="A model package of this environment was approved",
            source="aws.sagemaker",
            detail_type="SageMaker Model Package State Change",
            detail={"ModelPackageGroupName": [model_package_group], "ModelApprovalStatus": ["Approved"]},
        )
