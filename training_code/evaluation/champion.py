"""The champion: the model that serves today, and its answers on our photos.

It is looked up by requests to SageMaker only, because a job in an isolated network reaches no other service for this.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from binventory.core.contents import bucket_and_key
from evaluation.count_metrics import Floats
from evaluation.served_model import ServedModel, probabilities_of
from jobs.container import JobError
from shards import Sample

# In every other state nothing answers requests.
_ANSWERING = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})
# What somebody has made by hand lacks the tag by which the job may describe it, or is deleted although it serves.
_NOT_OURS = frozenset({"AccessDenied", "AccessDeniedException", "ValidationException"})
# Of a package, or of its archive.
_GONE = frozenset({"404", "NoSuchKey", "NoSuchBucket", "ValidationException"})


class NoPackageError(Exception):
    """The endpoint serves a model that is no model package, or that cannot be read."""


def serving_package(endpoint: str) -> str | None:
    """ARN of the package behind an endpoint's requests; None where nothing answers them.

    During an update of the endpoint this is the package before the update.

    Raises:
        NoPackageError: what serves is no model package, or one that the job may not describe.
        botocore.exceptions.ClientError: the endpoint cannot be looked up.
    """
    sagemaker = boto3.client("sagemaker")
    try:
        found = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in str(error):
            return None
        raise
    if found["EndpointStatus"] not in _ANSWERING:
        return None
    configuration = found["EndpointConfigName"]
    try:
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"]
        model = sagemaker.describe_model(ModelName=variants[0]["ModelName"])
    except ClientError as error:
        if error.response.get("Error", {}).get("Code", "") not in _NOT_OURS:
            raise
        raise NoPackageError(f"endpoint {endpoint} serves configuration {configuration}: {error}") from error
    package = _package_of(model)
    if package is None:
        raise NoPackageError(f"endpoint {endpoint} serves model {model['ModelName']}, which is no model package")
    return package


def newest_approved(group: str) -> str | None:
    """ARN of the newest approved package of a group; None without one.

    A page may be empty although more follow: AWS's own templates look for an approved package on the next ones, too.
    https://github.com/aws-samples/sagemaker-custom-project-templates
    """
    pages = boto3.client("sagemaker").get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending",
    )  # fmt: skip
    return next((str(found["ModelPackageArn"]) for page in pages for found in page["ModelPackageSummaryList"]), None)


def _package_of(model: dict[str, Any]) -> str | None:
    for container in model.get("Containers") or [model.get("PrimaryContainer", {})]:
        if package := container.get("ModelPackageName"):
            return str(package)
    return None


@dataclass(frozen=True, eq=False)
class Champion:
    """A model package, its probabilities [N, k] for the test photos, and its answer rule."""

    arn: str
    probabilities: Floats
    answer: str


class FoundChampion(NamedTuple):
    """The champion, or why it could not be compared."""

    champion: Champion | None
    not_compared: str
    """Empty where there is no champion, or it was compared."""


def find_champion(
    endpoint: str, group: str, photos: Sequence[Sample], classes: tuple[int, ...], *, split_by: str = ""
) -> FoundChampion:
    """The champion's answers: of the package that the endpoint serves, or of the newest approved one if none serves.

    Args:
        endpoint: its name, or `none`.
        split_by: what put the photos into the test split; empty where that is not known.

    A champion that is gone, broken or cannot be compared is a finding, no error, so that a broken package does not end
    every later evaluation. Raises JobError when the champion cannot be looked up or fetched.
    """
    try:
        arn = serving_package(endpoint) if endpoint != "none" else None
        arn = arn or newest_approved(group)
    except NoPackageError as error:
        return FoundChampion(None, str(error))
    except (BotoCoreError, ClientError, KeyError) as error:
        raise JobError(f"the champion of model package group {group} cannot be looked up: {error}") from error
    if arn is None:
        return FoundChampion(None, "")
    try:
        return FoundChampion(Champion(arn, *_answers_of(arn, photos, classes, split_by)), "")
    # A download that is cut again and again is an error of boto3, not of botocore, and a full disk one of the system.
    except (BotoCoreError, Boto3Error, OSError) as error:
        raise JobError(_not_fetched(arn, error)) from error
    except ClientError as error:
        if error.response.get("Error", {}).get("Code", "") not in _GONE:
            raise JobError(_not_fetched(arn, error)) from error
        return FoundChampion(None, f"champion {arn}: {error}")
    except Exception as error:  # whatever the archive of another version brings about
        if _is_of_the_machine(error):
            raise JobError(_not_fetched(arn, error)) from error
        return FoundChampion(None, f"champion {arn}: {error}")


def _not_fetched(arn: str, error: Exception) -> str:
    """A refusal or an outage says nothing about the champion: the threshold alone must not decide for it."""
    return (
        f"the champion {arn} cannot be fetched: {error}; grant the job's role what is denied, give the job a larger "
        "volume or machine, or start again"
    )


def _is_of_the_machine(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, is a full disk or a lack of memory."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.__cause__
    return full or isinstance(error, MemoryError) or (cause is not None and _is_of_the_machine(cause))


def _answers_of(arn: str, photos: Sequence[Sample], classes: tuple[int, ...], split_by: str) -> tuple[Floats, str]:
    package = boto3.client("sagemaker").describe_model_package(ModelPackageName=arn)
    bucket, key = bucket_and_key(package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "model.tar.gz"
        # The archive seals its description, which has the graph's digest: `ServedModel` holds it to both.
        boto3.client("s3").download_file(bucket, key, str(archive))
        return _answers(archive, Path(folder) / "model", photos, classes, split_by)


def _answers(
    archive: Path, folder: Path, photos: Sequence[Sample], classes: tuple[int, ...], split_by: str
) -> tuple[Floats, str]:
    """The champion's probabilities, computed as the endpoint does, and its answer rule."""
    try:
        champion = ServedModel.of_archive(archive, folder)
    except JobError as error:
        raise JobError(f"the champion cannot be loaded: {error}") from error
    counts = champion.description.classes
    if counts != classes:
        raise JobError(f"the champion counts {list(counts)}, this model {list(classes)}: they cannot be compared")
    theirs = champion.description.split_by
    if theirs and split_by and theirs != split_by:
        raise JobError(
            f"its photos were split by {theirs}, these by {split_by}: it may have learnt most of this test split, so "
            "they cannot be compared"
        )
    return probabilities_of(champion.answers(photos)), champion.description.answer
