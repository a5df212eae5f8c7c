"""What the steps are built from, and the S3 addresses of their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stacks.pipeline.expressions import EXECUTION_ID, Expression, join
from stacks.pipeline.job_security import JobSecurity
from stacks.pipeline.parameters import Parameters
from stacks.settings import Settings
from stacks.shared.images import training_image


@dataclass(frozen=True)
class JobRoles:
    """The role each kind of job runs with, as ARNs."""

    ingest: str
    training: str
    evaluate: str


@dataclass(frozen=True)
class PipelineContext:
    """What the stack gives the pipeline. Strings may be CDK tokens."""

    settings: Settings
    parameters: Parameters
    roles: JobRoles
    data_bucket: str
    model_bucket: str
    code_uri: str
    """S3 address of the source archive."""
    code_file: str
    """Its name in the channel that brings it: the last part of its key."""
    code_hash: str
    fingerprint_function: str
    """ARN of the function that lists what an execution reads."""
    serving_image: str
    model_package_group: str
    security: JobSecurity = field(default_factory=JobSecurity)

    def training_image(self, instance_type: str) -> str:
        """AWS's PyTorch training image for the processor of an instance type."""
        settings = self.settings
        return training_image(settings.training.framework_version, settings.region, instance_type)

    def data_uri(self, *path: str) -> Expression:
        """An address of this execution in the data bucket, without a slash at its end."""
        return join(f"s3://{self.data_bucket}/executions", EXECUTION_ID, *path, on="/")

    def model_uri(self, *path: str) -> Expression:
        """An address of this execution in the model bucket, without a slash at its end."""
        return join(f"s3://{self.model_bucket}/executions", EXECUTION_ID, *path, on="/")

    @property
    def reuse_days(self) -> int:
        """Days for which a step's results are reused; 0: never.

        S3 deletes them after `storage.executions_expire_days`. An execution that takes them may read them until its
        end, so they must have as many days left as its time limits allow.
        """
        return max(0, self.settings.storage.executions_expire_days - self.settings.longest_execution_days)

    @property
    def tags(self) -> list[dict[str, str]]:
        """Tags of every job, as the API takes them. The stack's tags do not reach jobs: SageMaker creates them."""
        return [{"Key": key, "Value": value} for key, value in self.settings.all_tags.items()]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of every job. SageMaker sets only AWS_REGION, which boto3 does not read.

        OMP_WAIT_POLICY: PyTorch's threads sleep while they wait for each other. By default they spin, and where
        anything else runs, they spin on the processor that the last thread needs (docs/training.md, How fast).
        """
        return {
            "AWS_DEFAULT_REGION": self.settings.region, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip

    @property
    def cached_environment(self) -> dict[str, str | Expression]:
        """Environment of a job whose step is cached: the cache compares it, so `Fresh` is in it."""
        return {**self.environment, "BINVENTORY_FRESH": self.parameters.fresh.value}


def channel(name: str, uri: str | Expression) -> dict[str, Any]:
    """An input channel of a training job. FastFile streams, so the job does not wait for a copy of the data."""
    return {
        "ChannelName": name,
        "InputMode": "FastFile",
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
    }
