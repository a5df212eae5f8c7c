"""Training jobs: CreateTrainingJob and the other operations, and spot interruptions. training_run.py runs the jobs."""

from __future__ import annotations

from functools import partial

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.protocol import Document
from local_aws.jobs.artifacts import model_location
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.records import TRAINING, TrainingRecord, add_transition
from local_aws.jobs.requests import check_training
from local_aws.jobs.running import Jobs
from local_aws.jobs.training_run import TrainingRun

_FLAGS = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")


def _members(context: Context, request: Document) -> Document:
    members: Document = {name: request.get(name, False) for name in _FLAGS}
    members["OutputDataConfig"] = {"KmsKeyId": ""} | request["OutputDataConfig"]  # as AWS shows one without a key
    members["ModelArtifacts"] = {"S3ModelArtifacts": model_location(request)}
    add_transition(members, "Starting", context.now())
    return members


TRAINING_JOBS = JobKind(
    TRAINING,
    "training job",
    check_training,
    _members,
    TrainingRun,
    taken="Training job names must be unique within an AWS account and region, {} exists already",
    missing="Requested resource not found.",
    record=TrainingRecord,
    move=add_transition,
    resumed=partial(TrainingRun, resumed=True),
)


def reclaim(context: Context, request: Document) -> Document:
    """Interrupt the spot capacity of a running training job, as AWS does: `{"TrainingJobName": ...}`."""
    name = request.get("TrainingJobName")
    if not isinstance(name, str):
        raise validation("TrainingJobName must name a running training job")
    run = context.shared(Jobs).find(TRAINING, name)
    if not isinstance(run, TrainingRun):
        raise AwsError("ResourceNotFound", f"No training job {name} is running")
    if not run.reclaim():
        raise validation(f"Training job {name} does not run on managed spot capacity, or is not training now")
    return {}
