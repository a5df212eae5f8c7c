"""One role for each kind of job, and one for the pipeline that starts them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from stacks.names import EMBED, EVALUATE, INGEST, TRAIN, TUNE
from stacks.pipeline.context import JobRoles
from stacks.pipeline.embed import EMBED_CHECKPOINTS
from stacks.pipeline.evaluate import EVALUATION, SERVING
from stacks.pipeline.ingest import REPORT
from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.job_network import JobNetwork
from stacks.shared.permissions import allow
from stacks.shared.stack import asset_folder
from stacks.storage.buckets import CHECKPOINTS_PREFIX, EXECUTIONS_PREFIX


@dataclass(frozen=True)
class JobAccess:
    """The resources that the jobs read and write."""

    settings: Settings
    data_bucket: s3.IBucket
    model_bucket: s3.IBucket
    code: s3_assets.Asset
    model_package_group: str
    fingerprint: lambda_.IFunction
    """The function of the pipeline's first step."""
    serving_repository: ecr.IRepository
    """The repository of the image that model packages name."""
    network: JobNetwork | None = None
    data_key: str | None = None
    """ARN of the key of buckets and volumes; None without customer keys."""


def _of_each_execution(part: str) -> str:
    """The prefix of a step's outputs. SageMaker numbers the executions, so no role can be held to one of them."""
    return f"{EXECUTIONS_PREFIX}/*/{part}"


class PipelineRoles(Construct):
    """The roles. Each allows what its jobs do, on the resources that they use."""

    def __init__(self, scope: Construct, construct_id: str, *, access: JobAccess) -> None:
        super().__init__(scope, construct_id)
        self._stack = Stack.of(self)
        self._access = access
        self.ingest = self._role("Ingest", "reads bin photos, writes shards", self._ingest())
        self.training = self._role("Training", "writes features, checkpoints and models", self._training())
        self.evaluate = self._role("Evaluate", "measures a model and exports it for serving", self._evaluate())
        self.pipeline = self._role("Pipeline", "starts the pipeline's jobs", self._pipeline())

    @property
    def job_roles(self) -> JobRoles:
        """The jobs' roles, as the pipeline names them."""
        return JobRoles(ingest=self.ingest.role_arn, training=self.training.role_arn, evaluate=self.evaluate.role_arn)

    def _role(self, name: str, purpose: str, statements: Iterable[iam.PolicyStatement]) -> iam.Role:
        return permissions.sagemaker_role(
            self, name, prefix=self._access.settings.prefix, purpose=purpose, statements=statements
        )

    def _ingest(self) -> Iterable[iam.PolicyStatement]:
        data = self._access.settings.data
        bucket, prefix = permissions.bucket_arn_and_key(data.photos_uri)
        prefixes = [prefix.rstrip("/")] if prefix else []
        yield from permissions.read_objects(bucket, *prefixes)
        if data.labels_uri != "none":
            yield self._read_object(data.labels_uri)
        own = self._access.data_bucket.bucket_arn
        yield from permissions.read_objects(own, EXECUTIONS_PREFIX)
        yield permissions.write_objects(own, _of_each_execution("ingest"))
        yield from self._any_job("ProcessingJobs")

    def _training(self) -> Iterable[iam.PolicyStatement]:
        access = self._access
        data, models = access.data_bucket.bucket_arn, access.model_bucket.bucket_arn
        yield from permissions.read_objects(data, EXECUTIONS_PREFIX, CHECKPOINTS_PREFIX)
        # Its code is the largest and reaches the package index: it writes neither shards nor what is served.
        embed = _of_each_execution("embed"), _of_each_execution(f"ingest/{REPORT}/{EMBED_CHECKPOINTS}")
        yield permissions.write_objects(data, *embed, CHECKPOINTS_PREFIX)
        # SageMaker deletes in S3 what a job deletes in its folder: without the right all checkpoints of a training
        # would stay, and come into the volume of the job that continues.
        yield allow(["s3:DeleteObject"], [f"{data}/{CHECKPOINTS_PREFIX}/*/step-*"])
        yield permissions.write_objects(models, _of_each_execution("tune"), _of_each_execution("train"))
        yield permissions.list_objects(models, EXECUTIONS_PREFIX)
        weights = access.settings.training.weights
        if weights.startswith("s3://"):
            yield self._read_object(weights)
            if access.network:
                # They come by a channel then, and SageMaker lists what it copies.
                # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
                yield self._list_object(*permissions.bucket_arn_and_key(weights))
        yield from self._any_job("TrainingJobs")

    def _evaluate(self) -> Iterable[iam.PolicyStatement]:
        access = self._access
        yield from permissions.read_objects(access.data_bucket.bucket_arn, EXECUTIONS_PREFIX)
        models = access.model_bucket.bucket_arn
        yield from permissions.read_objects(models, EXECUTIONS_PREFIX)
        written = _of_each_execution(EVALUATION.output), _of_each_execution(SERVING)
        yield permissions.write_objects(models, *written)
        yield from permissions.find_champion(self._stack, access.settings.prefix, access.model_package_group)
        yield from self._any_job("ProcessingJobs")

    def _any_job(self, log_kind: str) -> Iterable[iam.PolicyStatement]:
        # Also those of earlier versions: an execution, or a job that waits for spot capacity, may outlast a deployment.
        bucket, archives = self._access.code.bucket, f"{asset_folder(self._access.settings)}*.gz"
        yield allow(["s3:GetObject"], [bucket.arn_for_objects(archives)])
        yield self._list_object(bucket.bucket_arn, archives)
        yield from permissions.pull_training_image(self._stack)
        yield from permissions.join_network(self._stack, self._access.network)
        yield from permissions.use_key(self._access.data_key)
        yield from permissions.write_job_logs(self._stack, log_kind)

    def _pipeline(self) -> Iterable[iam.PolicyStatement]:
        """SageMaker Pipelines names jobs after execution and step. Only the step is known at synthesis."""
        access = self._access
        jobs = {
            "ProcessingJob": ("processing-job", INGEST, EVALUATE),
            "TrainingJob": ("training-job", EMBED, TRAIN),
            "HyperParameterTuningJob": ("hyper-parameter-tuning-job", TUNE),
        }
        for kind, (resource, *steps) in jobs.items():
            arns = permissions.step_job_arns(self._stack, resource, *steps)
            verbs = ("Create", "Describe", "Stop")
            yield allow([*(f"sagemaker:{verb}{kind}" for verb in verbs), "sagemaker:AddTags"], arns)
        yield allow(["lambda:InvokeFunction"], [access.fingerprint.function_arn])
        yield permissions.pass_roles(self.ingest.role_arn, self.training.role_arn, self.evaluate.role_arn)
        group = access.model_package_group
        # A person approves: the pipeline may register models as pending only.
        yield allow(
            ["sagemaker:CreateModelPackage"],
            [
                permissions.sagemaker_arn(self._stack, "model-package-group", group),
                permissions.sagemaker_arn(self._stack, "model-package", f"{group}/*"),
            ],
            {"StringEqualsIfExists": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}},
        )
        # SageMaker looks the package's image up by the permissions of who registers it.
        yield allow(["ecr:BatchGetImage", "ecr:DescribeImages"], [access.serving_repository.repository_arn])
        yield allow(
            ["sagemaker:DescribeModelPackage"], [permissions.sagemaker_arn(self._stack, "model-package", f"{group}/*")]
        )
        # The gate reads the property file; the registration refers to the archive and the evaluation.
        yield from permissions.read_objects(access.model_bucket.bucket_arn, EXECUTIONS_PREFIX)

    def _list_object(self, bucket_arn: str, key: str) -> iam.PolicyStatement:
        return allow(["s3:ListBucket"], [bucket_arn], {"StringLike": {"s3:prefix": [key]}})

    def _read_object(self, uri: str) -> iam.PolicyStatement:
        return allow(["s3:GetObject"], ["/".join(permissions.bucket_arn_and_key(uri))])
