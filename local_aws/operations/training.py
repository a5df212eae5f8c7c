"""Training jobs: create, describe, list, stop; and, locally, reclaim their spot capacity."""

from __future__ import annotations

from local_aws.context import Context
from local_aws.engine.jobs import from_before, jobs_of, reclaim, resumes
from local_aws.engine.training import TrainingRun
from local_aws.engine.training_record import FAMILY, RUNNING, add_transition
from local_aws.engine.training_start import begin_training_job
from local_aws.errors import not_found, validation
from local_aws.listing import list_page
from local_aws.service import admin
from local_aws.wire import Document, describe, operation, summarise


@operation("CreateTrainingJob")
def create_training_job(context: Context, request: Document) -> Document:
    """Accept a training job and start it."""
    arn = begin_training_job(context, request)
    return {"TrainingJobArn": arn}


@operation("DescribeTrainingJob")
def describe_training_job(context: Context, request: Document) -> Document:
    """Everything about one training job."""
    return describe("DescribeTrainingJob", _find(context, request["TrainingJobName"]))


@operation("ListTrainingJobs")
def list_training_jobs(context: Context, request: Document) -> Document:
    """Training jobs, newest first unless asked otherwise."""
    page = list_page(context.table(FAMILY).all(), request, name="TrainingJobName", status="TrainingJobStatus")
    return page.reply("TrainingJobSummaries", summarise("ListTrainingJobs", "TrainingJobSummaries", page.documents))


@operation("StopTrainingJob")
def stop_training_job(context: Context, request: Document) -> Document:
    """Ask a running training job to end."""
    job = _find(context, request["TrainingJobName"])
    if job["TrainingJobStatus"] not in RUNNING:
        raise validation(f"The request was rejected because the training job is in status {job['TrainingJobStatus']}.")
    run = jobs_of(context).find(FAMILY, request["TrainingJobName"])
    if run is not None and job["TrainingJobStatus"] == "InProgress":
        run.stop()
    return {}


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


def _find(context: Context, name: str) -> Document:
    job = context.table(FAMILY).get(name)
    if job is None:
        raise not_found("Requested resource not found.")
    return job
