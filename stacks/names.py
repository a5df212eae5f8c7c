"""Names that stacks, functions and command line use: pipelines, their steps and parameters, those of the serving stack.

Packed with the functions, so it needs no package.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

FINGERPRINT: Final = "Fingerprint"
INGEST: Final = "Ingest"
SEAL: Final = "Seal"
EMBED: Final = "Embed"
TUNE: Final = "Tune"
TRAIN: Final = "Train"
EVALUATE: Final = "Evaluate"
GATE: Final = "Gate"
REGISTER: Final = "Register"
REFUSE: Final = "Refuse"
SPOT_STEPS: Final = (EMBED, TUNE, TRAIN)
"""The steps whose jobs may run on spot capacity, in the order in which they run."""

PHOTOS_URI: Final = "PhotosUri"
LABELS_URI: Final = "LabelsUri"
FRESH: Final = "Fresh"
"""A value that no earlier execution had keeps SageMaker from taking cached steps from one."""
LIMIT_PER_CLASS: Final = "LimitPerClass"
STRATEGY: Final = "Strategy"
BACKBONE: Final = "Backbone"
WEIGHTS: Final = "Weights"
VIEWS: Final = "Views"
EPOCHS: Final = "Epochs"
SEED: Final = "Seed"
ACCURACY_THRESHOLD: Final = "AccuracyThreshold"
TUNING_JOBS: Final = "TuningJobs"
TUNING_PARALLEL_JOBS: Final = "TuningParallelJobs"
INGEST_INSTANCE_TYPE: Final = "IngestInstanceType"
INGEST_INSTANCE_COUNT: Final = "IngestInstanceCount"
EMBED_INSTANCE_TYPE: Final = "EmbedInstanceType"
TRAINING_INSTANCE_TYPE: Final = "TrainingInstanceType"
TRAINING_INSTANCE_COUNT: Final = "TrainingInstanceCount"
EVALUATE_INSTANCE_TYPE: Final = "EvaluateInstanceType"
CONTINUED_EXECUTION: Final = "ContinuedExecution"
"""Parameter of the pipelines that continue an execution on demand: the id of the execution, which holds checkpoints."""

LISTING: Final = "Listing"
"""Output of Fingerprint: S3 address of the listing of photos, metadata and labels, which is named after its SHA-256."""
SHARDS: Final = "Shards"
"""Output of Seal: the digest of each split's list of shards."""
SHARD_LIST: Final = "digests.json"
"""The list beside the shards of a split, which holds their digests."""
PHOTOS: Final = "Photos"
METADATA: Final = "Metadata"

MODEL_PACKAGE_ARN: Final = "ModelPackageArn"
ENDPOINT_STATE: Final = "EndpointState"
MODEL_DIGEST: Final = "ModelDigest"
"""Parameters of the serving stack: the package to serve, `on` or `off`, and the digest of the package's archive."""
RECONCILE_SECONDS: Final = 120
"""After these Lambda ends a call of the function that changes the serving stack."""
SERVING_RESOURCE_TYPES: Final = (
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CDK::Metadata",
    "AWS::CloudWatch::Alarm",
    "AWS::Logs::LogGroup",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
)
"""What the serving stack may be made of. The function that updates it may name no other resource types."""
CALL_METRICS: Final = (("Invocations", "Sum"), ("ModelLatency", "SampleCount"))
"""Metrics of an endpoint, each with its statistic, of which the first with a value counts the calls.

An asynchronous endpoint publishes no Invocations: its answers are counted by the time that each has taken.
"""
TRANSFORM_GROUP: Final = "/aws/sagemaker/TransformJobs"
JOB_LOG_GROUPS: Final = ("/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs", TRANSFORM_GROUP)
"""The log groups of SageMaker's jobs, which all jobs of an account share."""
ARCHIVE: Final = "archive"
"""Property of a model package: the digest of its archive, which is that of serving.json and names that of the graph."""


_LONGEST_ARGUMENT: Final = 256


def continuing_pipeline(prefix: str, first: str) -> str:
    """The pipeline that continues on demand with the step `first`, for example `binventory-dev-on-demand-train`."""
    return f"{prefix}-on-demand-{first.lower()}"


def pipeline_names(prefix: str, *, continuing: bool) -> tuple[str, ...]:
    """Every pipeline of the environment: the main one first, then those that continue its executions on demand."""
    return (prefix, *(continuing_pipeline(prefix, first) for first in SPOT_STEPS if continuing))


def endpoint_log_group(prefix: str) -> str:
    """The log group of the endpoint's containers."""
    return f"/aws/sagemaker/Endpoints/{prefix}"


def command_of(prefix: str, words: str) -> str:
    """A command line to be typed, for the environment of a prefix such as `binventory-prod`.

    It names the environment: without that it would be about `dev`.
    """
    return f"binventory {words} --env {prefix.rpartition('-')[2]}"


def version_of(package: str) -> int:
    """The version at the end of a model package's ARN; 0 where there is none."""
    number = package.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def problem_of_address(address: str, *, registered: bool) -> str:
    """What SageMaker does not take in an address that jobs get, as `must ...`; empty where it takes it.

    Args:
        registered: whether a model package keeps the address as well, in one of its properties.
    """
    if len(address) > _LONGEST_ARGUMENT:
        return f"must have at most {_LONGEST_ARGUMENT} characters: SageMaker gives no longer argument to a job"
    wrong = [letter for letter in address if not _is_of_a_property(letter)]
    if registered and wrong:
        return (
            f"must be without {wrong[0]}, which SageMaker takes in no property of a model package: "
            "give the folder above it, or copy the objects below a name without it"
        )
    return ""


def _is_of_a_property(letter: str) -> bool:
    return letter in "_.:/=+-@" or unicodedata.category(letter)[0] in "LNZ"


def in_one_line(addresses: Iterable[str]) -> str:
    """S3 addresses in one output of a stack, between spaces. Those that are in an address are written as `%20`."""
    return " ".join(quote(address, safe=string.punctuation.replace("%", "")) for address in addresses)


def of_one_line(text: str) -> tuple[str, ...]:
    """The addresses that `in_one_line` has written."""
    return tuple(unquote(part) for part in text.split())
