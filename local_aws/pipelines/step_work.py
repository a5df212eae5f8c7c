"""The work of a pipeline step: its request, the end of its job, and its properties."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.objects import S3Uri
from local_aws.core.protocol import Document
from local_aws.core.wire import call
from local_aws.jobs.running import Jobs
from local_aws.pipelines.definition import PipelineStep

_ALPHABET = string.ascii_lowercase + string.digits
_BEST_TRIALS = 50
"""A tuning step keeps its 50 best trials, as AWS's page on steps and the SDK (`get_top_model_s3_uri`) say."""


class StepFailure(Exception):
    """A step that did not succeed.

    Args:
        reason: its FailureReason.
        kind: its exception type in retry policies; empty when they have none for it.
        stopped: it ended because it was stopped.
    """

    def __init__(self, reason: str, kind: str = "", *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.stopped = stopped


class Interrupted(Exception):
    """The local AWS stops; the step continues at the next start."""


@dataclass(frozen=True)
class StepJob:
    """The job of one type of step.

    Args:
        family: of the job, for example `ProcessingJob`.
        metadata: member of the step's Metadata that has the job's ARN.
        cache_members: members of the request that equal runs share, as AWS documents them.
    """

    family: str
    metadata: str
    cache_members: tuple[str, ...]

    @property
    def name_member(self) -> str:
        return f"{self.family}Name"

    def status(self, job: Document) -> str:
        """The job's main status."""
        return str(job[f"{self.family}Status"])


JOB_KINDS = {
    "Processing": StepJob("ProcessingJob", "ProcessingJob", ("AppSpecification", "Environment", "ProcessingInputs")),
    "Training": StepJob(
        "TrainingJob",
        "TrainingJob",
        (
            "AlgorithmSpecification",
            "CheckpointConfig",
            "DebugHookConfig",
            "DebugRuleConfigurations",
            "Environment",
            "HyperParameters",
            "InputDataConfig",
        ),
    ),
    "Tuning": StepJob(
        "HyperParameterTuningJob",
        "TuningJob",
        ("HyperParameterTuningJobConfig", "TrainingJobDefinition", "TrainingJobDefinitions"),
    ),
}


def job_name(execution_id: str, step: str, kind: StepJob, prefix: str = "") -> str:
    """A name for a step's job, like AWS's; that of a tuning job has at most 32 characters.

    It is in lower case, as ARNs are, because scripts take a job's name from the ARN in the step's metadata.

    Args:
        execution_id: of the execution.
        step: name of the step.
        kind: of the job.
        prefix: the job's name in the step's arguments. AWS takes it as the beginning of the name, so that the next
            execution can start such a job, too.
    """
    if kind.family == "HyperParameterTuningJob":
        parts = [_part(prefix, 8), execution_id] if prefix else [execution_id, _part(step, 8)]
    else:
        parts = (
            [_part(prefix, 20), execution_id, _part(step, 18)]
            if prefix
            else ["pipelines", execution_id, _part(step, 28)]
        )
    return "-".join([*parts, _suffix()])


def _part(text: str, most: int) -> str:
    """A text as a part of a job's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:most].strip("-") or "step"


def _suffix() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


def cache_key(pipeline: str, step: PipelineStep, arguments: Document) -> str | None:
    """The key that equal runs of a step share in the cache; None for a step without caching."""
    kind = JOB_KINDS.get(step.type)
    if kind is None or step.cache_seconds is None:
        return None
    compared = {member: arguments[member] for member in kind.cache_members if member in arguments}
    text = json.dumps([pipeline, step.name, step.type, compared], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def start_job(context: Context, step: PipelineStep, arguments: Document, execution_id: str) -> tuple[str, str]:
    """Create the step's job; returns its name and ARN. Raises `StepFailure`."""
    kind = JOB_KINDS[step.type]
    name = job_name(execution_id, step.name, kind, str(arguments.get(kind.name_member, "")))
    reply = invoke(context, f"Create{kind.family}", arguments | {kind.name_member: name})
    return name, reply[f"{kind.family}Arn"]


def await_job(context: Context, step: PipelineStep, name: str) -> Document:
    """Wait for the end of a step's job; returns its description. Raises `StepFailure` unless it is Completed."""
    kind = JOB_KINDS[step.type]
    context.shared(Jobs).wait(kind.family, name)
    job = call(context, f"Describe{kind.family}", {kind.name_member: name})
    status = kind.status(job)
    if status in {"InProgress", "Stopping"}:
        raise Interrupted
    if status != "Completed":
        reason = job.get("FailureReason") or f"The {step.type.lower()} job {name} ended as {status}"
        raise StepFailure(reason, _kind_of(reason), stopped=status == "Stopped")
    if step.type == "Tuning":
        order = {
            kind.name_member: name,
            "SortBy": "FinalObjectiveMetricValue",
            "SortOrder": "Ascending" if _minimises(job) else "Descending",
            "MaxResults": _BEST_TRIALS,
        }
        with context.acting(None):  # the service collects a step's properties; the pipeline's role needs no permission
            trials = call(context, "ListTrainingJobsForHyperParameterTuningJob", order)
        job["TrainingJobSummaries"] = trials["TrainingJobSummaries"]
    return job


def stop_job(context: Context, step: PipelineStep, name: str) -> None:
    """Stop the step's job, as the service itself; no error when it has ended."""
    kind = JOB_KINDS[step.type]
    try:
        with context.acting(None):
            call(context, f"Stop{kind.family}", {kind.name_member: name})
    except AwsError as error:
        if error.code != "ValidationException":
            raise


def register_model(context: Context, arguments: Document) -> Document:
    """Call CreateModelPackage; returns the package's description."""
    reply = invoke(context, "CreateModelPackage", arguments)
    return call(context, "DescribeModelPackage", {"ModelPackageName": reply["ModelPackageArn"]})


def create_model(context: Context, arguments: Document, execution_id: str, step: str) -> Document:
    """Call CreateModel, by default under a name with the execution's id; returns the model's description."""
    name = arguments.get("ModelName") or f"pipelines-{execution_id}-{step[:28].lower()}-{_suffix()}"
    invoke(context, "CreateModel", arguments | {"ModelName": name})
    return call(context, "DescribeModel", {"ModelName": name})


def invoke(context: Context, operation: str, arguments: Document) -> Document:
    """Call an operation for a step; raises `StepFailure` with AWS's message."""
    try:
        return call(context, operation, arguments)
    except AwsError as error:
        kind = {"ThrottlingException": "Step.THROTTLING", "ResourceLimitExceeded": "SageMaker.RESOURCE_LIMIT"}.get(
            error.code, "Step.SERVICE_FAULT" if error.status >= 500 and error.code != "NotImplemented" else ""
        )
        reason = f"ClientError: Failed to invoke sagemaker:{operation}. Error Details: {error.message}"
        raise StepFailure(reason, kind) from error


def read_property_file(context: Context, step: PipelineStep, properties: Document, file: str) -> Any:
    """The decoded JSON of a property file that a step declared. Raises `StepFailure`."""
    if file not in step.property_files:
        raise StepFailure(f"ClientError: step {step.name} declares no property file {file}")
    output, path = step.property_files[file]
    outputs = properties.get("ProcessingOutputConfig", {}).get("Outputs", [])
    uris = [item["S3Output"]["S3Uri"] for item in outputs if item["OutputName"] == output]
    if not uris:
        raise StepFailure(f"ClientError: property file {file}: step {step.name} has no output {output}")
    bucket, key = S3Uri.parse(f"{uris[0].rstrip('/')}/{path}")
    try:
        return json.loads(context.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    except (ClientError, ValueError) as error:
        raise StepFailure(
            f"ClientError: property file {file} at s3://{bucket}/{key} cannot be read: {error}"
        ) from error


def _minimises(tuning: Document) -> bool:
    objective = (
        tuning["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective")
        or tuning["TrainingJobDefinition"]["TuningObjective"]
    )
    return bool(objective["Type"] == "Minimize")


def _kind_of(reason: str) -> str:
    kinds: dict[str, Callable[[str], bool]] = {
        "SageMaker.JOB_INTERNAL_ERROR": lambda text: text.startswith("InternalServerError"),
        "SageMaker.CAPACITY_ERROR": lambda text: text.startswith("CapacityError"),
        "SageMaker.RESOURCE_LIMIT": lambda text: "ResourceLimitExceeded" in text,
    }
    return next((kind for kind, matches in kinds.items() if matches(reason)), "")
