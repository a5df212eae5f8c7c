"""The model that serves today: the newest approved package of the group, and its answers on our photos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from evaluation.count_metrics import Floats
from evaluation.served_model import ServedModel, probabilities_of
from jobs.container import JobError
from shards import Sample


@dataclass(frozen=True, eq=False)
class Champion:
    """The approved model package and the probabilities [N, k] it gives our photos."""

    arn: str
    probabilities: Floats


def find_champion(group: str, photos: Sequence[Sample], classes: tuple[int, ...]) -> Champion | None:
    """The champion's answers; None when the group holds no approved package (the first model has no rival).

    Raises JobError when there is a champion that cannot be fetched or run: a gate that cannot be judged must not pass.
    """
    try:
        sagemaker = boto3.client("sagemaker")
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending",
            MaxResults=1,
        )["ModelPackageSummaryList"]  # fmt: skip
        if not found:
            return None
        arn = found[0]["ModelPackageArn"]
        package = sagemaker.describe_model_package(ModelPackageName=arn)
        uri = package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
        with tempfile.TemporaryDirectory() as folder:
            place = urlparse(uri)
            archive = Path(folder) / "model.tar.gz"
            boto3.client("s3").download_file(place.netloc, place.path.lstrip("/"), str(archive))
            return Champion(arn, _answers(archive, Path(folder) / "model", photos, classes))
    except (BotoCoreError, ClientError, KeyError) as error:
        raise JobError(f"the champion of model package group {group} cannot be looked up: {error}") from error


def _answers(archive: Path, folder: Path, photos: Sequence[Sample], classes: tuple[int, ...]) -> Floats:
    """As the endpoint that serves it answers."""
    try:
        champion = ServedModel.of_archive(archive, folder)
    except JobError as error:
        raise JobError(f"the champion cannot be loaded: {error}") from error
    counts = champion.description.classes
    if counts != classes:
        raise JobError(f"the champion counts {list(counts)}, this model {list(classes)}: they cannot be compared")
    return probabilities_of(champion.answers(photos))
