"""How SageMaker's API names the jobs of a pipeline's steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from binventory.core.aws import Aws


@dataclass(frozen=True)
class JobKind:
    """The request members and operations of one kind of job."""

    name: str
    status: str
    describe: str
    stop: str


KINDS: Final[Mapping[str, JobKind]] = {
    "TrainingJob": JobKind("TrainingJobName", "TrainingJobStatus", "describe_training_job", "stop_training_job"),
    "ProcessingJob": JobKind(
        "ProcessingJobName", "ProcessingJobStatus", "describe_processing_job", "stop_processing_job"
    ),
    "TuningJob": JobKind(
        "HyperParameterTuningJobName",
        "HyperParameterTuningJobStatus",
        "describe_hyper_parameter_tuning_job",
        "stop_hyper_parameter_tuning_job",
    ),
}
"""By the kind of the step."""


def describe(aws: Aws, kind: str, job: str) -> dict[str, Any]:
    """What SageMaker says of a job. Raises ClientError."""
    known = KINDS[kind]
    described: dict[str, Any] = getattr(aws.client("sagemaker"), known.describe)(**{known.name: job})
    return described


def ask_to_stop(aws: Aws, kind: str, job: str) -> None:
    """Asks a job to stop; it may run on for minutes. Raises ClientError."""
    known = KINDS[kind]
    getattr(aws.client("sagemaker"), known.stop)(**{known.name: job})
