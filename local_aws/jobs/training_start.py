"""What a training job needs to be accepted, and its first breath."""

from __future__ import annotations

import re

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, in_use, validation
from local_aws.core.tags import set_tags
from local_aws.core.wire import Document
from local_aws.jobs.artifacts import model_location
from local_aws.jobs.running import jobs_of
from local_aws.jobs.training_record import FAMILY, add_transition
from local_aws.jobs.training_run import TrainingRun


def begin_training_job(
    context: Context, request: Document, *, threads: int | None = None, extra: Document | None = None
) -> str:
    """Store and start a training job; returns its ARN.

    Args:
        context: the local AWS.
        request: CreateTrainingJob's request, valid in shape.
        threads: the job's share of processors, for jobs that run beside others.
        extra: members of the description that no request can set (a trial's TuningJobArn).
    """
    _check(request)
    name = request["TrainingJobName"]
    now = context.now()
    job = {key: value for key, value in request.items() if key != "Tags"} | {
        "TrainingJobArn": context.arn("training-job", name),
        "TrainingJobStatus": "InProgress",
        "ModelArtifacts": {"S3ModelArtifacts": model_location(request)},
        "CreationTime": now,
        **(extra or {}),
    }
    job.setdefault("EnableNetworkIsolation", False)
    job.setdefault("EnableInterContainerTrafficEncryption", False)
    job.setdefault("EnableManagedSpotTraining", False)
    add_transition(job, "Starting", now)
    if not context.table(FAMILY).insert(name, job):
        raise in_use(f"Training job names must be unique within an AWS account and region, {name} exists already")
    set_tags(context, job["TrainingJobArn"], request.get("Tags"))
    jobs_of(context).start(FAMILY, name, TrainingRun(context, name, threads=threads))
    return str(job["TrainingJobArn"])


def _check(request: Document) -> None:
    """What AWS refuses although its shape is right."""
    algorithm = request["AlgorithmSpecification"]
    if not algorithm.get("TrainingImage") and not algorithm.get("AlgorithmName"):
        raise validation("You must specify either TrainingImage or AlgorithmName in AlgorithmSpecification.")
    if "AlgorithmName" in algorithm:
        raise AwsError("NotImplemented", "AlgorithmName does not run locally; give TrainingImage", 501)
    if "ResourceConfig" not in request or "StoppingCondition" not in request or "OutputDataConfig" not in request:
        raise validation("ResourceConfig, StoppingCondition and OutputDataConfig are required")
    resources = request["ResourceConfig"]
    if "InstanceGroups" not in resources and not {"InstanceType", "InstanceCount"} <= resources.keys():
        raise validation("ResourceConfig must have InstanceType and InstanceCount, or InstanceGroups")
    _check_spot(request)
    _check_channels(request)
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            re.compile(definition["Regex"])
        except re.error as error:
            raise validation(f"Invalid Regex for metric {definition['Name']}: {error}") from None


def _check_spot(request: Document) -> None:
    condition = request["StoppingCondition"]
    wait = condition.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait is None:
            raise validation("MaxWaitTimeInSeconds is required when EnableManagedSpotTraining is true")
        if wait < condition.get("MaxRuntimeInSeconds", 86_400):
            raise validation(
                f"Invalid MaxWaitTimeInSeconds {wait}. It must be equal to or greater than MaxRuntimeInSeconds "
                f"{condition.get('MaxRuntimeInSeconds', 86_400)}"
            )
    elif wait is not None:
        raise validation("MaxWaitTimeInSeconds cannot be set when EnableManagedSpotTraining is false")


def _check_channels(request: Document) -> None:
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise validation(f"Channel names must be unique, found more than once: {', '.join(doubled)}")
    for channel in request.get("InputDataConfig", []):
        mode = channel.get("InputMode", request["AlgorithmSpecification"].get("TrainingInputMode"))
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise AwsError("NotImplemented", f"Channel {channel['ChannelName']}: only S3DataSource runs locally", 501)
        if mode == "Pipe" or source["S3DataType"] not in {"S3Prefix", "ManifestFile"}:
            raise AwsError(
                "NotImplemented",
                f"Channel {channel['ChannelName']}: input mode Pipe and {source['S3DataType']} do not run locally; "
                "File and FastFile with S3Prefix or ManifestFile do",
                501,
            )
