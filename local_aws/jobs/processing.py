"""Processing jobs: create, describe, list, stop."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.wire import Document, describe, operation
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.processing_run import ProcessingRun
from local_aws.jobs.running import resumes

_KIND = JobKind("ProcessingJob", "processing job", ProcessingRun)
_DEFAULT_RUNTIME_SECONDS = 86_400


@operation("CreateProcessingJob")
def create_processing_job(context: Context, request: Document) -> Document:
    """Accept a processing job and start it."""
    _check(request)
    stopping = request.get("StoppingCondition", {"MaxRuntimeInSeconds": _DEFAULT_RUNTIME_SECONDS})
    return _KIND.create(context, request, {"StoppingCondition": stopping})


@operation("DescribeProcessingJob")
def describe_processing_job(context: Context, request: Document) -> Document:
    """Everything about one processing job."""
    return describe("DescribeProcessingJob", _KIND.find(context, request))


@operation("ListProcessingJobs")
def list_processing_jobs(context: Context, request: Document) -> Document:
    """Processing jobs, newest first unless asked otherwise."""
    return _KIND.reply(_KIND.page(context, request))


@operation("StopProcessingJob")
def stop_processing_job(context: Context, request: Document) -> Document:
    """Ask a running processing job to end."""
    return _KIND.stop(context, request)


@resumes(order=0)
def resume_processing_jobs(context: Context) -> None:
    """Start again what was running when the local AWS stopped: outputs go up at the end only, so nothing is doubled."""
    _KIND.resume(context)


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
