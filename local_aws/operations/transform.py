"""Batch Transform jobs: create, describe, list, stop."""

from __future__ import annotations

from local_aws.context import Context
from local_aws.engine.jobs import from_before, jobs_of, resumes
from local_aws.engine.transform import FAMILY, TransformRun
from local_aws.errors import AwsError, in_use, not_found, validation
from local_aws.listing import list_page
from local_aws.operations.hosting import container_of, model_of
from local_aws.operations.tags import set_tags
from local_aws.wire import Document, describe, operation, summarise

_MOST_MEGABYTES = 100
_NOT_LOCAL = ("DataCaptureConfig", "ExperimentConfig")


@operation("CreateTransformJob")
def create_transform_job(context: Context, request: Document) -> Document:
    """Accept a transform job and start it."""
    _check(request)
    name = request["TransformJobName"]
    model = model_of(context, request["ModelName"])
    container, package = container_of(context, model)
    now = context.now()
    job = {key: value for key, value in request.items() if key != "Tags"} | {
        "TransformJobArn": context.arn("transform-job", name),
        "TransformJobStatus": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
        # Resolved now and kept: a model that is deleted meanwhile does not matter. No Describe shows these.
        "Container": container,
        "ModelPackage": package,
        "RoleArn": model.get("ExecutionRoleArn"),
    }
    if not context.table(FAMILY).insert(name, job):
        raise in_use(f"Job name must be unique within an AWS account and region, and a job with name {name} exists")
    set_tags(context, job["TransformJobArn"], request.get("Tags"))
    jobs_of(context).start(FAMILY, name, TransformRun(context, name))
    return {"TransformJobArn": job["TransformJobArn"]}


@operation("DescribeTransformJob")
def describe_transform_job(context: Context, request: Document) -> Document:
    """Everything about one transform job."""
    return describe("DescribeTransformJob", _find(context, request["TransformJobName"]))


@operation("ListTransformJobs")
def list_transform_jobs(context: Context, request: Document) -> Document:
    """Transform jobs, newest first unless asked otherwise."""
    page = list_page(context.table(FAMILY).all(), request, name="TransformJobName", status="TransformJobStatus")
    shown = summarise("ListTransformJobs", "TransformJobSummaries", page.documents)
    return page.reply("TransformJobSummaries", shown)


@operation("StopTransformJob")
def stop_transform_job(context: Context, request: Document) -> Document:
    """Ask a running transform job to end; nothing of its output is kept."""
    job = _find(context, request["TransformJobName"])
    if job["TransformJobStatus"] not in {"InProgress", "Stopping"}:
        raise validation(
            f"The request was rejected because the transform job is in status {job['TransformJobStatus']}."
        )
    run = jobs_of(context).find(FAMILY, request["TransformJobName"])
    if run is not None and job["TransformJobStatus"] == "InProgress":
        run.stop()
    return {}


@resumes(order=0)
def resume_transform_jobs(context: Context) -> None:
    """Start again what was running when the local AWS stopped: outputs have fixed names, so nothing is doubled."""
    for job in from_before(context, FAMILY):
        name = job["TransformJobName"]
        if job["TransformJobStatus"] == "InProgress":
            jobs_of(context).start(FAMILY, name, TransformRun(context, name))
        elif job["TransformJobStatus"] == "Stopping":
            context.table(FAMILY).put(name, job | {"TransformJobStatus": "Stopped"})


def _find(context: Context, name: str) -> Document:
    job = context.table(FAMILY).get(name)
    if job is None:
        raise not_found(f"Could not find requested job with name: {name}")
    return job


def _check(request: Document) -> None:
    """What AWS refuses although its shape is right, and what does not run locally."""
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
    unlike = [name for name in _NOT_LOCAL if request.get(name)]
    unlike += [f"DataProcessing.{name}" for name in ("InputFilter", "OutputFilter") if processing.get(name, "$") != "$"]
    unlike += ["DataProcessing.JoinSource"] if processing.get("JoinSource", "None") != "None" else []
    unlike += [f"SplitType {split}"] if split not in {"None", "Line"} else []
    unlike += [source["S3DataType"]] if source["S3DataType"] not in {"S3Prefix", "ManifestFile"} else []
    if unlike:
        raise AwsError("NotImplemented", f"Not run locally: {', '.join(unlike)}; AWS does", 501)
