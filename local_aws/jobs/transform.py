"""Batch Transform jobs: create, describe, list, stop."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.wire import Document, describe, operation
from local_aws.hosting.models import container_of, model_of
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.running import resumes
from local_aws.jobs.transform_run import TransformRun

_KIND = JobKind("TransformJob", "transform job", TransformRun)
_MOST_MEGABYTES = 100
_NOT_LOCAL = ("DataCaptureConfig", "ExperimentConfig")


@operation("CreateTransformJob")
def create_transform_job(context: Context, request: Document) -> Document:
    """Accept a transform job and start it."""
    _check(request)
    model = model_of(context, request["ModelName"])
    container, package = container_of(context, model)
    # Resolved now and kept: a model that is deleted meanwhile does not matter. No Describe shows these.
    resolved = {"Container": container, "ModelPackage": package, "RoleArn": model.get("ExecutionRoleArn")}
    return _KIND.create(context, request, resolved)


@operation("DescribeTransformJob")
def describe_transform_job(context: Context, request: Document) -> Document:
    """Everything about one transform job."""
    return describe("DescribeTransformJob", _KIND.find(context, request))


@operation("ListTransformJobs")
def list_transform_jobs(context: Context, request: Document) -> Document:
    """Transform jobs, newest first unless asked otherwise."""
    return _KIND.reply(_KIND.page(context, request))


@operation("StopTransformJob")
def stop_transform_job(context: Context, request: Document) -> Document:
    """Ask a running transform job to end; nothing of its output is kept."""
    return _KIND.stop(context, request)


@resumes(order=0)
def resume_transform_jobs(context: Context) -> None:
    """Start again what was running when the local AWS stopped: outputs have fixed names, so nothing is doubled."""
    _KIND.resume(context)


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
