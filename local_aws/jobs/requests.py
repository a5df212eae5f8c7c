"""Checks of CreateTrainingJob, CreateProcessingJob and CreateTransformJob beyond the request's shape.

They raise `AwsError`: ValidationException for what AWS refuses too, NotImplemented for what only AWS runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.protocol import Document

_DEFAULT_RUNTIME_SECONDS = 86_400
_MOST_MEGABYTES = 100
_TRANSFORM_NOT_LOCAL = ("DataCaptureConfig", "ExperimentConfig")


def check_training(context: Context, request: Document) -> None:
    """CreateTrainingJob: image, resources, limits, spot capacity, channels and metrics."""
    algorithm = request["AlgorithmSpecification"]
    if not algorithm.get("TrainingImage") and not algorithm.get("AlgorithmName"):
        raise validation("You must specify either TrainingImage or AlgorithmName in AlgorithmSpecification.")
    if "AlgorithmName" in algorithm:
        raise _not_local("AlgorithmName does not run locally; give TrainingImage")
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


def check_processing(context: Context, request: Document) -> None:
    """CreateProcessingJob: entry point, inputs and outputs."""
    if not request["AppSpecification"].get("ContainerEntrypoint"):
        raise _not_local(
            "AppSpecification.ContainerEntrypoint is needed locally: AWS's PyTorch training images have none for "
            "processing"
        )
    inputs = request.get("ProcessingInputs", [])
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    doubled = _doubled([*(item["InputName"] for item in inputs), *(item["OutputName"] for item in outputs)])
    if doubled:
        raise validation(f"Input and output names must be unique, found more than once: {doubled}")
    for item in inputs:
        source = item.get("S3Input")
        if source is None or "LocalPath" not in source:
            raise _not_local(f"Input {item['InputName']}: only S3Input with LocalPath runs locally")
        if source.get("S3CompressionType", "None") != "None" or source.get("S3InputMode", "File") == "Pipe":
            raise _not_local(f"Input {item['InputName']}: Gzip and Pipe do not run locally")
        _check_processing_path(source["LocalPath"], f"ProcessingInput {item['InputName']}")
    for item in outputs:
        target = item.get("S3Output")
        if target is None or target["S3UploadMode"] != "EndOfJob":
            raise _not_local(f"Output {item['OutputName']}: only S3Output at EndOfJob runs locally")
        _check_processing_path(target["LocalPath"], f"ProcessingOutput {item['OutputName']}")


def check_transform(context: Context, request: Document) -> None:
    """CreateTransformJob: payload, input and what is done with its records."""
    megabytes = request.get("MaxPayloadInMB")
    concurrent = request.get("MaxConcurrentTransforms")
    if megabytes is not None and megabytes > _MOST_MEGABYTES:
        raise validation(f"MaxPayloadInMB {megabytes} must be at most {_MOST_MEGABYTES}")
    if megabytes and concurrent and megabytes * concurrent > _MOST_MEGABYTES:
        raise validation(
            f"MaxConcurrentTransforms ({concurrent}) * MaxPayloadInMB ({megabytes}) must be at most {_MOST_MEGABYTES}"
        )
    source = request["TransformInput"]["DataSource"].get("S3DataSource")
    if source is None:
        raise validation("TransformInput.DataSource must have an S3DataSource")
    split = request["TransformInput"].get("SplitType", "None")
    processing = request.get("DataProcessing", {})
    names = [name for name in _TRANSFORM_NOT_LOCAL if request.get(name)]
    names += [f"DataProcessing.{name}" for name in ("InputFilter", "OutputFilter") if processing.get(name, "$") != "$"]
    names += ["DataProcessing.JoinSource"] if processing.get("JoinSource", "None") != "None" else []
    names += [f"SplitType {split}"] if split not in {"None", "Line"} else []
    names += [source["S3DataType"]] if source["S3DataType"] not in {"S3Prefix", "ManifestFile"} else []
    if names:
        raise _not_local(f"Not run locally: {', '.join(names)}; AWS does")


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
            raise _not_local(f"Channel {channel['ChannelName']}: only S3DataSource runs locally")
        if mode == "Pipe" or source["S3DataType"] not in {"S3Prefix", "ManifestFile"}:
            raise _not_local(
                f"Channel {channel['ChannelName']}: input mode Pipe and {source['S3DataType']} do not run locally; "
                "File and FastFile with S3Prefix or ManifestFile do"
            )


def _check_processing_path(path: str, what: str) -> None:
    if not path.startswith("/opt/ml/processing/"):
        raise validation(f"{what}: LocalPath {path} must be below /opt/ml/processing/")


def _doubled(names: Iterable[str]) -> str:
    """The names that occur more than once, joined; empty when there is none."""
    every = list(names)
    return ", ".join(sorted({name for name in every if every.count(name) > 1}))


def _not_local(message: str) -> AwsError:
    return AwsError("NotImplemented", message, 501)
