"""What makes `cdk destroy` total: custom resources that empty what CloudFormation cannot delete full."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct, IDependable

from stacks import permissions
from stacks.assets import REPOSITORY
from stacks.base import BinventoryStack
from stacks.permissions import allow

CLEANUP_CODE = REPOSITORY / "cleanup_code"


class Cleanup(Construct):
    """The function of one stack, which may empty that stack's things and no others."""

    def __init__(self, scope: BinventoryStack, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self._stack = scope
        name = f"{scope.stack_name}-cleanup"
        log_group = scope.log_group(self, "Logs", f"/aws/lambda/{name}")
        self._role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"{scope.stack_name}: empties what is in the way when the stack is destroyed",
        )
        own_stack = scope.format_arn(service="cloudformation", resource="stack", resource_name=f"{scope.stack_name}/*")
        self._allow(
            "Common",
            [permissions.write_log_streams(log_group), allow(["cloudformation:DescribeStacks"], [own_stack])],
        )
        self._function = lambda_.Function(
            self,
            "Function",
            function_name=name,
            description="Empties what is in the way when the stack is destroyed",
            runtime=lambda_.Runtime.PYTHON_3_14,
            handler="cleanup.handler",
            code=lambda_.Code.from_asset(str(CLEANUP_CODE), exclude=["**/__pycache__", "**/.*"]),
            role=self._role,
            log_group=log_group,
            memory_size=256,
            timeout=Duration.minutes(15),
        )

    def empty_bucket(self, bucket: s3.Bucket) -> None:
        """Empties the bucket before it is deleted."""
        self._before_deletion(
            bucket.node.id,
            subject={"BucketName": bucket.bucket_name},
            of=[bucket],
            statements=[
                allow(["s3:GetBucketPolicy", "s3:ListBucketVersions", "s3:PutBucketPolicy"], [bucket.bucket_arn]),
                allow(["s3:DeleteObject", "s3:DeleteObjectVersion"], [bucket.arn_for_objects("*")]),
            ],
        )

    def delete_model_packages(self, group: str, of: IDependable) -> None:
        """Deletes the versions in a model package group before the group is deleted."""
        self._before_deletion(
            "ModelPackages",
            subject={"ModelPackageGroupName": group},
            of=[of],
            statements=[
                allow(
                    ["sagemaker:DeleteModelPackage", "sagemaker:ListModelPackages"],
                    [self._sagemaker_arn("model-package", f"{group}/*")],
                )
            ],
        )

    def stop_executions(self, pipeline: str, of: IDependable) -> None:
        """Stops a pipeline's executions before the pipeline is deleted."""
        self._before_deletion(
            "Executions",
            subject={"PipelineName": pipeline},
            of=[of],
            statements=[
                allow(
                    ["sagemaker:ListPipelineExecutions", "sagemaker:StopPipelineExecution"],
                    [
                        self._sagemaker_arn("pipeline", pipeline),
                        self._sagemaker_arn("pipeline", f"{pipeline}/execution/*"),
                    ],
                )
            ],
        )

    def _before_deletion(
        self,
        construct_id: str,
        *,
        subject: dict[str, str],
        of: Sequence[IDependable],
        statements: Sequence[iam.PolicyStatement],
    ) -> None:
        resource = CustomResource(
            self,
            construct_id,
            service_token=self._function.function_arn,
            resource_type="Custom::Cleanup",
            properties=subject,
        )
        # Deleted in the opposite order: first this, with everything it needs still there.
        resource.node.add_dependency(*of, self._allow(construct_id, statements), self._role)

    def _allow(self, construct_id: str, statements: Sequence[iam.PolicyStatement]) -> iam.Policy:
        return iam.Policy(self, f"{construct_id}Policy", roles=[self._role], statements=list(statements))

    def _sagemaker_arn(self, resource: str, name: str) -> str:
        return self._stack.format_arn(service="sagemaker", resource=resource, resource_name=name)
