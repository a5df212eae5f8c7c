"""Makes `cdk destroy` complete: custom resources empty what CloudFormation deletes only when it is empty."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct, IDependable

from stacks.names import JOB_LOG_GROUPS
from stacks.shared import permissions
from stacks.shared.functions import FunctionProperties, PythonFunction
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack


class Cleanup(Construct):
    """The cleanup function of one stack. It may empty the resources of that stack and no others."""

    def __init__(self, scope: BinventoryStack, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self._stack = scope
        own_stack = permissions.stack_arn(scope, scope.stack_name)
        self._function = PythonFunction(
            self,
            "Empty",
            stack=scope,
            of=FunctionProperties(
                name=f"{scope.stack_name}-cleanup",
                purpose="empties what is in the way when the stack is destroyed",
                handler="cleanup.handler",
                timeout=Duration.minutes(15),
                statements=[allow(["cloudformation:DescribeStacks"], [own_stack])],
            ),
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
                    [permissions.sagemaker_arn(self._stack, "model-package", f"{group}/*")],
                )
            ],
        )

    def stop_executions(self, pipeline: str, of: IDependable, construct_id: str = "Executions") -> None:
        """Stops a pipeline's executions before the pipeline is deleted."""
        self._before_deletion(
            construct_id,
            subject={"PipelineName": pipeline},
            of=[of],
            statements=[
                permissions.stop_executions(self._stack, pipeline),
                allow(["logs:DescribeLogStreams"], permissions.log_group_arns(self._stack, *JOB_LOG_GROUPS)),
                allow(["logs:DeleteLogStream"], self._job_log_streams()),
            ],
        )

    def bound_job_logs(self, days: int) -> None:
        """Creates the log groups of SageMaker's jobs with a retention, where the account lacks them."""
        groups = permissions.log_group_arns(self._stack, *JOB_LOG_GROUPS)
        self._before_deletion(
            "JobLogs",
            subject={"JobLogRetentionDays": str(days)},
            of=[],
            statements=[allow(["logs:CreateLogGroup", "logs:PutRetentionPolicy"], groups)],
        )

    def _job_log_streams(self) -> list[str]:
        return [f"{permissions.log_group_arn(self._stack, group)}:log-stream:*" for group in JOB_LOG_GROUPS]

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
            service_token=self._function.function.function_arn,
            resource_type="Custom::Cleanup",
            properties=subject,
        )
        policy = iam.Policy(self, f"{construct_id}Policy", roles=[self._function.role], statements=list(statements))
        # A destroy runs in the opposite order: this resource goes first, while all that it needs still exists.
        resource.node.add_dependency(*of, policy, self._function)
