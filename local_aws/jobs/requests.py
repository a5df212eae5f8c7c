"""Checks of CreateTrainingJob, CreateProcessingJob and CreateTransformJob beyond the request's shape.

They raise `AwsError`: ValidationException for what AWS refuses too, NotImplemented for what only AWS runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from local_aws.core.context import Context
from local_aws.core.disks import refuse_larger_volume, refuse_volume_key
from local_aws.core.errors import not_local, validation
from local_aws.core.existence import require_network, require_objects
from local_aws.core.objects import S3Uri
from local_aws.core.protocol import Document
from local_aws.hosting.models import model_of
from local_aws.images.pytorch import require_job_image
from local_aws.jobs.debugger import refuse_debugger

_DEFAULT_RUNTIME_SECONDS = 86_400
_MOST_MEGABYTES = 100
_TRANSFORM_NOT_LOCAL = ("DataCaptureConfig", "ExperimentConfig")


def check_training(context: Context, request: Document) -> None:
    """CreateTrainingJob: image, resources, limits, spot capacity, channels and metrics."""
    algorithm = request["AlgorithmSpecification"]
    if not algorithm.get("TrainingImage") and not algorithm.get("AlgorithmName"):
        raise validation("You must specify either TrainingImage or AlgorithmName in AlgorithmSpecification.")
    if "AlgorithmName" in algorithm:
        raise not_local("AlgorithmName does not run locally", "give TrainingImage")
    if "ResourceConfig" not in request or "StoppingCondition" not in request or "OutputDataConfig" not in request:
        raise validation("ResourceConfig, StoppingCondition and OutputDataConfig are required")
    resources = request["ResourceConfig"]
    groups, single = resources.get("InstanceGroups", []), {"InstanceType", "InstanceCount"}
    if not groups and not single <= resources.keys():
        raise validation("ResourceConfig must have InstanceType and InstanceCount, or InstanceGroups")
    if groups and single & resources.keys():
        raise validation("ResourceConfig must have either InstanceType and InstanceCount or InstanceGroups, not both")
    if "ContainerArguments" in algorithm and not algorithm.get("ContainerEntrypoint"):
        raise not_local(
            "AlgorithmSpecification.ContainerArguments without ContainerEntrypoint do not run locally",
            "give ContainerEntrypoint too, or hyperparameters",
        )
    instance_types = [group["InstanceType"] for group in groups or [resources]]
    refuse_volume_key(resources.get("VolumeKmsKeyId"), instance_types)
    refuse_larger_volume(resources.get("VolumeSizeInGB"), instance_types)
    _check_spot(request)
    _check_channels(request)
    _check_checkpoint_path(request)
    require_metrics_with_a_value(algorithm)
    refuse_debugger(request)
    require_what_training_names(context, request)


def require_metrics_with_a_value(algorithm: Document) -> None:
    """Refuse MetricDefinitions of a training job, or of the trials of a tuning job, that can never find a value.

    The first group of the pattern is the value. What AWS does without a group is not documented.
    """
    for definition in algorithm.get("MetricDefinitions", []):
        name = definition["Name"]
        try:
            pattern = re.compile(definition["Regex"])
        except re.error as error:
            raise validation(f"Invalid Regex for metric {name}: {error}") from None
        if not pattern.groups:
            raise validation(
                f"Invalid Regex for metric {name}: no part of {pattern.pattern} stands in parentheses, so it finds no "
                "value; write the number as a group, for example loss=([0-9.]+)"
            )


def require_what_training_names(context: Context, request: Document) -> None:
    """The role, the image, the network and the inputs of a training job, or of the trials of a tuning job."""
    context.require_trust(request["RoleArn"])
    if image := request["AlgorithmSpecification"].get("TrainingImage"):
        require_job_image(context, image)
    require_network(context, request)
    S3Uri.parse(request["OutputDataConfig"]["S3OutputPath"])
    if checkpoints := request.get("CheckpointConfig"):
        S3Uri.parse(checkpoints["S3Uri"])
    for channel in request.get("InputDataConfig", []):
        if source := channel["DataSource"].get("S3DataSource"):
            manifest = source["S3DataType"] == "ManifestFile"
            require_objects(context, source["S3Uri"], request["RoleArn"], manifest=manifest)


def check_processing(context: Context, request: Document) -> None:
    """CreateProcessingJob: entry point, inputs and outputs."""
    if not request["AppSpecification"].get("ContainerEntrypoint"):
        raise not_local(
            "A processing job without AppSpecification.ContainerEntrypoint does not run locally",
            "give one: AWS's PyTorch training images have none for processing",
        )
    cluster = request["ProcessingResources"]["ClusterConfig"]
    if not {"InstanceType", "InstanceCount"} <= cluster.keys():
        raise validation("ProcessingResources.ClusterConfig must have InstanceType and InstanceCount")
    refuse_volume_key(cluster.get("VolumeKmsKeyId"), [cluster["InstanceType"]])
    refuse_larger_volume(cluster.get("VolumeSizeInGB"), [cluster["InstanceType"]])
    inputs = request.get("ProcessingInputs", [])
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    doubled = _doubled([*(item["InputName"] for item in inputs), *(item["OutputName"] for item in outputs)])
    if doubled:
        raise validation(f"Input and output names must be unique, found more than once: {doubled}")
    for item in inputs:
        source = item.get("S3Input")
        if source is None:
            raise not_local(f"Input {item['InputName']} does not run locally", "give S3Input")
        if lacking := [f'"{member}"' for member in ("LocalPath", "S3InputMode") if member not in source]:
            # The model calls them optional. Seen: https://github.com/aws/sagemaker-python-sdk/issues/2578
            raise validation(
                f"Input {item['InputName']} missing one or more required fields for SageMaker-managed S3Input: "
                f"{', '.join(lacking)}"
            )
        if source.get("S3CompressionType", "None") != "None" or source.get("S3InputMode", "File") == "Pipe":
            raise not_local(f"Input {item['InputName']}: Gzip and Pipe do not run locally", "give uncompressed files")
        _check_processing_path(source["LocalPath"], f"ProcessingInput {item['InputName']}")
    for item in outputs:
        target = item.get("S3Output")
        if target is None or target["S3UploadMode"] != "EndOfJob":
            raise not_local(f"Output {item['OutputName']} does not run locally", "give S3Output with EndOfJob")
        _check_processing_path(target["LocalPath"], f"ProcessingOutput {item['OutputName']}")
        S3Uri.parse(target["S3Uri"])
    context.require_trust(request["RoleArn"])
    require_job_image(context, request["AppSpecification"]["ImageUri"])
    require_network(context, request)
    for item in inputs:
        manifest = item["S3Input"]["S3DataType"] == "ManifestFile"
        require_objects(context, item["S3Input"]["S3Uri"], request["RoleArn"], manifest=manifest)


def check_transform(context: Context, request: Document) -> None:
    """CreateTransformJob: payload, input and what is done with its records."""
    megabytes = request.get("MaxPayloadInMB")
    concurrent = request.get("MaxConcurrentTransforms")
    if megabytes == 0:
        raise not_local("MaxPayloadInMB 0, a payload of any size in chunks, does not run locally", "give a size in MB")
    if megabytes is not None and megabytes > _MOST_MEGABYTES:
        raise validation(f"MaxPayloadInMB {megabytes} must be at most {_MOST_MEGABYTES}")
    if megabytes and concurrent and megabytes * concurrent > _MOST_MEGABYTES:
        raise validation(
            f"MaxConcurrentTransforms ({concurrent}) * MaxPayloadInMB ({megabytes}) must be at most {_MOST_MEGABYTES}"
        )
    resources = request["TransformResources"]
    refuse_volume_key(resources.get("VolumeKmsKeyId"), [resources["InstanceType"]])
    source = request["TransformInput"]["DataSource"].get("S3DataSource")
    if source is None:
        raise validation("TransformInput.DataSource must have an S3DataSource")
    S3Uri.parse(request["TransformOutput"]["S3OutputPath"])
    split = request["TransformInput"].get("SplitType", "None")
    processing = request.get("DataProcessing", {})
    names = [name for name in _TRANSFORM_NOT_LOCAL if request.get(name)]
    names += [f"DataProcessing.{name}" for name in ("InputFilter", "OutputFilter") if processing.get(name, "$") != "$"]
    names += ["DataProcessing.JoinSource"] if processing.get("JoinSource", "None") != "None" else []
    names += [f"SplitType {split}"] if split not in {"None", "Line"} else []
    names += [source["S3DataType"]] if source["S3DataType"] not in {"S3Prefix", "ManifestFile"} else []
    if names:
        raise not_local(f"{', '.join(names)} does not run locally", "leave it out of the request")
    role = model_of(context, request["ModelName"]).get("ExecutionRoleArn", "")
    require_objects(context, source["S3Uri"], role, manifest=source["S3DataType"] == "ManifestFile")


def _check_spot(request: Document) -> None:
    condition = request["StoppingCondition"]
    wait = condition.get("MaxWaitTimeInSeconds")
    runtime = condition.get("MaxRuntimeInSeconds", _DEFAULT_RUNTIME_SECONDS)
    if request.get("EnableManagedSpotTraining"):
        if wait is None:
            raise validation("MaxWaitTimeInSeconds is required when EnableManagedSpotTraining is true")
        if wait < runtime:
            raise validation(
                f"Invalid MaxWaitTimeInSeconds {wait}. It must be equal to or greater than MaxRuntimeInSeconds "
                f"{runtime}"
            )
    elif wait is not None:
        raise validation("MaxWaitTimeInSeconds cannot be set when EnableManagedSpotTraining is false")


def _check_channels(request: Document) -> None:
    channels = request.get("InputDataConfig", [])
    doubled = _doubled(channel["ChannelName"] for channel in channels)
    if doubled:
        raise validation(f"Channel names must be unique, found more than once: {doubled}")
    for channel in channels:
        mode = channel.get("InputMode", request["AlgorithmSpecification"].get("TrainingInputMode"))
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise not_local(
                f"Channel {channel['ChannelName']}: a data source other than S3DataSource does not run locally",
                "put the data into S3",
            )
        if mode == "Pipe" or source["S3DataType"] not in {"S3Prefix", "ManifestFile"}:
            named = "input mode Pipe" if mode == "Pipe" else f"S3DataType {source['S3DataType']}"
            raise not_local(
                f"Channel {channel['ChannelName']}: {named} does not run locally",
                "give File or FastFile, with S3Prefix or ManifestFile",
            )


def _check_processing_path(path: str, what: str) -> None:
    if not path.startswith("/opt/ml/processing/") or ".." in path.split("/"):
        raise validation(f"{what}: LocalPath {path} must be below /opt/ml/processing/")


def _check_checkpoint_path(request: Document) -> None:
    """A path elsewhere in a container of AWS is harmless; here it would be a folder of this computer."""
    path = request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints")
    if not path.startswith("/opt/ml/") or ".." in path.split("/"):
        raise not_local(f"CheckpointConfig.LocalPath {path} does not run locally", "give a path below /opt/ml/")


def _doubled(names: Iterable[str]) -> str:
    """The names that occur more than once, joined; empty when there is none."""
    every = list(names)
    return ", ".join(sorted({name for name in every if every.count(name) > 1}))
