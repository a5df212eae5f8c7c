"""Training jobs: create, describe, list, stop; and, locally, reclaim their spot capacity."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.wire import Document, describe, operation
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.running import from_before, jobs_of, reclaim, resumes
from local_aws.jobs.training_record import FAMILY, add_transition
from local_aws.jobs.training_run import TrainingRun
from local_aws.jobs.training_start import begin_training_job
from local_aws.service import admin

_KIND = JobKind("TrainingJob", "training job", TrainingRun, missing="Requested resource not found.")


@operation("CreateTrainingJob")
def create_training_job(context: Context, request: Document) -> Document:
    """Accept a training job and start it."""
    arn = begin_training_job(context, request)
    return {"TrainingJobArn": arn}


@operation("DescribeTrainingJob")
def describe_training_job(context: Context, request: Document) -> Document:
    """Everything about one training job."""
    return describe("DescribeTrainingJob", _KIND.find(context, request))


@operation("ListTrainingJobs")
def list_training_jobs(context: Context, request: Document) -> Document:
    """Training jobs, newest first unless asked otherwise."""
    return _KIND.reply(_KIND.page(context, request))


@operation("StopTrainingJob")
def stop_training_job(context: Context, request: Document) -> Document:
    """Ask a running training job to end."""
    return _KIND.stop(context, request)


@admin("reclaim")
def reclaim_spot_capacity(context: Context, request: Document) -> Document:
    """Interrupt a running spot job as AWS does: `{"TrainingJobName": ...}`."""
    name = request.get("TrainingJobName")
    if not isinstance(name, str):
        raise validation("TrainingJobName must name a running training job")
    reclaim(context, name)
    return {}


@resumes(order=0)
def resume_training_jobs(context: Context) -> None:
    """Start again what was running when the local AWS stopped; a job that was being stopped is stopped."""
    for job in from_before(context, FAMILY):
        name = job["TrainingJobName"]
        if job["TrainingJobStatus"] == "InProgress":
            jobs_of(context).start(FAMILY, name, TrainingRun(context, name, resumed=True))
        elif job["TrainingJobStatus"] == "Stopping":
            context.table(FAMILY).update(name, lambda stored: add_transition(stored, "Stopped", context.now()))
