"""The model that serves today, and its answers on our photos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from evaluation.count_metrics import Floats
from evaluation.served_model import ServedModel, probabilities_of
from evaluation.serving_package import NoPackageError, newest_approved, serving_package
from jobs.container import JobError
from shards import Sample


@dataclass(frozen=True, eq=False)
class Champion:
    """A model package, the probabilities [N, k] it gives our photos, and its rule of answering."""

    arn: str
    probabilities: Floats
    answer: str


class Found(NamedTuple):
    """The champion, or why there is one that could not be compared."""

    champion: Champion | None
    not_compared: str
    """Empty where there is no champion, or it was compared."""


def find_champion(endpoint: str, group: str, photos: Sequence[Sample], classes: tuple[int, ...]) -> Found:
    """The champion's answers: of the package that the endpoint serves, or of the newest approved one if none serves.

    endpoint: its name, or `none`. A champion that cannot be read or compared is a finding, so that one broken package
    does not end every later evaluation. Raises JobError when SageMaker does not say which one is the champion.
    """
    try:
        arn = serving_package(endpoint) if endpoint != "none" else None
        arn = arn or newest_approved(group)
    except NoPackageError as error:
        return Found(None, str(error))
    except (BotoCoreError, ClientError, KeyError) as error:
        raise JobError(f"the champion of model package group {group} cannot be looked up: {error}") from error
    if arn is None:
        return Found(None, "")
    try:
        return Found(Champion(arn, *_answers_of(arn, photos, classes)), "")
    except Exception as error:  # whatever the archive of another version brings about
        return Found(None, f"champion {arn}: {error}")


def _answers_of(arn: str, photos: Sequence[Sample], classes: tuple[int, ...]) -> tuple[Floats, str]:
    package = boto3.client("sagemaker").describe_model_package(ModelPackageName=arn)
    place = urlparse(package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "model.tar.gz"
        boto3.client("s3").download_file(place.netloc, place.path.lstrip("/"), str(archive))
        return _answers(archive, Path(folder) / "model", photos, classes)


def _answers(archive: Path, folder: Path, photos: Sequence[Sample], classes: tuple[int, ...]) -> tuple[Floats, str]:
    """Probabilities as the endpoint that serves it answers, and its rule of answering."""
    try:
        champion = ServedModel.of_archive(archive, folder)
    except JobError as error:
        raise JobError(f"the champion cannot be loaded: {error}") from error
    counts = champion.description.classes
    if counts != classes:
        raise JobError(f"the champion counts {list(counts)}, this model {list(classes)}: they cannot be compared")
    return probabilities_of(champion.answers(photos)), champion.description.answer
