"""Processing jobs: create, describe, list, stop."""

from __future__ import annotations

from local_aws.context import Context
from local_aws.engine.jobs import from_before, jobs_of, resumes
from local_aws.engine.processing import FAMILY, ProcessingRun
from local_aws.errors import AwsError, in_use, not_found, validation
from local_aws.listing import list_page
from local_aws.operations.tags import set_tags
from local_aws.wire import Document, describe, operation, summarise

_DEFAULT_RUNTIME_SECONDS = 86_400


@operation("CreateProcessingJob")
def create_processing_job(context: Context, request: Document) -> Document:
    """Accept a processing job and start it."""
    _check(request)
    name = request["ProcessingJobName"]
    job = {key: value for key, value in request.items() if key != "Tags"} | {
        "ProcessingJobArn": context.arn("processing-job", name),
        "ProcessingJobStatus": "InProgress",
        "CreationTime": context.now(),
        "LastModifiedTime": context.now(),
    }
    job.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": _DEFAULT_RUNTIME_SECONDS})
    if not context.table(FAMILY).insert(name, job):
        raise in_use(f"Job name must be unique within an AWS account and region, and a job with name {name} exists")
    set_tags(context, job["ProcessingJobArn"], request.get("Tags"))
    jobs_of(context).start(FAMILY, name, ProcessingRun(context, name))
    return {"ProcessingJobArn": job["ProcessingJobArn"]}


@operation("DescribeProcessingJob")
def describe_processing_job(context: Context, request: Document) -> Document:
    """Everything about one processing job."""
    return describe("DescribeProcessingJob", _find(context, request["ProcessingJobName"]))


@operation("ListProcessingJobs")
def list_processing_jobs(context: Context, request: Document) -> Document:
    """Processing jobs, newest first unless asked otherwise."""
    page = list_page(context.table(FAMILY).all(), request, name="ProcessingJobName", status="ProcessingJobStatus")
    shown = summarise("ListProcessingJobs", "ProcessingJobSummaries", page.documents)
    return page.reply("ProcessingJobSummaries", shown)


@operation("StopProcessingJob")
def stop_processing_job(context: Context, request: Document) -> Document:
    """Ask a running processing job to end."""
    job = _find(context, request["ProcessingJobName"])
    if job["ProcessingJobStatus"] not in {"InProgress", "Stopping"}:
        raise validation(
            f"The request was rejected because the processing job is in status {job['ProcessingJobStatus']}."
        )
    run = jobs_of(context).find(FAMILY, request["ProcessingJobName"])
    if run is not None and job["ProcessingJobStatus"] == "InProgress":
        run.stop()
    return {}


@resumes(order=0)
def resume_processing_jobs(context: Context) -> None:
    """Start again what was running when the local AWS stopped: outputs go up at the end only, so nothing is doubled."""
    for job in from_before(context, FAMILY):
        name = job["ProcessingJobName"]
        if job["ProcessingJobStatus"] == "InProgress":
            jobs_of(context).start(FAMILY, name, ProcessingRun(context, name))
        elif job["ProcessingJobStatus"] == "Stopping":
            context.table(FAMILY).put(name, job | {"ProcessingJobStatus": "Stopped"})


def _find(context: Context, name: str) -> Document:
    job = context.table(FAMILY).get(name)
    if job is None:
        raise not_found(f"Could not find requested job with name: {name}")
    return job


def _check(request: Document) -> None:
    """What AWS refuses although its shape is right, and what does not run locally."""
    if not request["AppSpecification"].get("ContainerEntrypoint"):
        raise AwsError(
            "NotImplemented",
            "AppSpecification.ContainerEntrypoint is needed locally: AWS's PyTorch training images have none for "
            "processing",
            501,
        )
    names = [item["InputName"] for item in request.get("ProcessingInputs", [])]
    names += [item["OutputName"] for item in request.get("ProcessingOutputConfig", {}).get("Outputs", [])]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise validation(f"Input and output names must be unique, found more than once: {', '.join(doubled)}")
    for item in request.get("ProcessingInputs", []):
        source = item.get("S3Input")
        if source is None or "LocalPath" not in source:
            raise AwsError(
                "NotImplemented", f"Input {item['InputName']}: only S3Input with LocalPath runs locally", 501
            )
        if source.get("S3CompressionType", "None") != "None" or source.get("S3InputMode", "File") == "Pipe":
            raise AwsError("NotImplemented", f"Input {item['InputName']}: Gzip and Pipe do not run locally", 501)
        _check_path(source["LocalPath"], f"ProcessingInput {item['InputName']}")
    for item in request.get("ProcessingOutputConfig", {}).get("Outputs", []):
        target = item.get("S3Output")
        if target is None or target["S3UploadMode"] != "EndOfJob":
            raise AwsError(
                "NotImplemented", f"Output {item['OutputName']}: only S3Output at EndOfJob runs locally", 501
            )
        _check_path(target["LocalPath"], f"ProcessingOutput {item['OutputName']}")


def _check_path(path: str, what: str) -> None:
    if not path.startswith("/opt/ml/processing/"):
        raise validation(f"{what}: LocalPath {path} must be below /opt/ml/processing/")
