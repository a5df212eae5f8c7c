"""Pipeline executions: start one, follow it, and explain it when it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code, error_message
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names

STEPS = ("Fingerprint", "Ingest", "Embed", "Tune", "Train", "Evaluate", "Gate", "Register")
RUNNING = frozenset({"Starting", "Executing", "Stopping"})
_SPOT_STEPS = ("train", "tune", "embed")
_LOG_GROUPS = {"TrainingJob": "/aws/sagemaker/TrainingJobs", "ProcessingJob": "/aws/sagemaker/ProcessingJobs"}
# A loss from which on its decimals say nothing.
_DIVERGED = 10_000


def named(arn: str, started: datetime | None) -> str:
    """An execution in words, with its time where that is known."""
    when = f" of {started.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if started else ""
    return f"the execution {arn.rsplit('/', 1)[-1]}{when}"


@dataclass(frozen=True)
class Reused:
    """The earlier execution that a cached step was taken from."""

    execution: str
    """Its ARN."""
    started: datetime | None
    """None where it is no longer known."""

    def __str__(self) -> str:
        return f"reused from {named(self.execution, self.started)}"


@dataclass(frozen=True)
class Step:
    """One step of an execution as the service reports it."""

    name: str
    status: str  # Starting | Executing | Stopping | Stopped | Failed | Succeeded
    started: datetime | None
    ended: datetime | None
    failure: str
    kind: str  # TrainingJob | ProcessingJob | TuningJob | Lambda | Condition | RegisterModel | Fail | ""
    detail: str  # ARN of the job, function or package, outcome of a condition, message of a Fail step
    reused: Reused | None = None
    """Where its result comes from, when the step cache had it: nothing ran, and nothing is billed."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """What the function of a Lambda step returned."""

    @property
    def job(self) -> str:
        """The job's name, from its ARN."""
        return self.detail.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Trial:
    """One training job of the tuning job."""

    job: str
    status: str
    objective: float | None
    hyperparameters: Mapping[str, str]

    @property
    def loss(self) -> str:
        """The objective as people read it: empty without one, and short where a trial has diverged."""
        if self.objective is None:
            return ""
        return f"{self.objective:.4f}" if abs(self.objective) < _DIVERGED else f"{self.objective:.2g}"


@dataclass(frozen=True)
class Execution:
    """A pipeline execution at one moment, its steps in the order in which they started."""

    arn: str
    status: str
    failure: str
    steps: tuple[Step, ...]
    started: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of the ARN; artefacts lie under executions/<id>/."""
        return self.arn.rsplit("/", 1)[-1]

    def step(self, name: str) -> Step | None:
        """The step with this name, if it has started."""
        return next((step for step in self.steps if step.name == name), None)


def definition(aws: Aws, names: Names) -> dict[str, Any]:
    """The deployed pipeline's definition."""
    try:
        found = aws.client("sagemaker").describe_pipeline(PipelineName=names.prefix)
    except ClientError as error:
        if error_code(error) != "ResourceNotFound":
            raise
        raise _not_deployed(names) from error
    return dict(json.loads(found["PipelineDefinition"]))


def definition_on_demand(aws: Aws, names: Names) -> dict[str, Any] | None:
    """The definition that goes on with Embed on demand after too many reclaims; None where the settings have none."""
    try:
        found = aws.client("sagemaker").describe_pipeline(PipelineName=f"{names.prefix}-on-demand-embed")
    except ClientError as error:
        if error_code(error) not in {"ResourceNotFound", "AccessDenied", "AccessDeniedException"}:
            raise
        return None
    return dict(json.loads(found["PipelineDefinition"]))


def start(aws: Aws, names: Names, parameters: Mapping[str, str | int | float]) -> str:
    """Starts the pipeline and returns the execution's ARN."""
    try:
        reply = aws.client("sagemaker").start_pipeline_execution(
            PipelineName=names.prefix,
            PipelineParameters=[{"Name": name, "Value": str(value)} for name, value in parameters.items()],
        )
    except ClientError as error:
        if error_code(error) == "ResourceNotFound":
            raise _not_deployed(names) from error
        raise Problem(
            f"The pipeline {names.prefix} did not start",
            error_message(error),
            "correct the parameter it names; `binventory train --help` lists them",
        ) from error
    return str(reply["PipelineExecutionArn"])


def _not_deployed(names: Names) -> Problem:
    return Problem(
        f"There is no pipeline {names.prefix}",
        "the training stack is not deployed in this account and region",
        "deploy first: npx cdk deploy --all",
        code=Exit.NOT_READY,
    )


def newest(aws: Aws, names: Names) -> str:
    """ARN of the execution that started last."""
    try:
        found = aws.client("sagemaker").list_pipeline_executions(
            PipelineName=names.prefix, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["PipelineExecutionSummaries"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFound":
            raise
        found = []
    if not found:
        raise Problem(
            f"The pipeline {names.prefix} has not run",
            "it has no execution, or is not deployed",
            "start one: binventory train",
            code=Exit.NOT_READY,
        )
    return str(found[0]["PipelineExecutionArn"])


def find(aws: Aws, names: Names, execution: str) -> str:
    """ARN of an execution that is named by its ARN or by the last part of it."""
    if execution.startswith("arn:"):
        return execution
    sagemaker = aws.client("sagemaker")
    try:
        pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=names.prefix)
        arns = [str(item["PipelineExecutionArn"]) for page in pages for item in page["PipelineExecutionSummaries"]]
    except ClientError as error:
        if error_code(error) != "ResourceNotFound":
            raise
        raise _not_deployed(names) from error
    found = next((arn for arn in arns if arn.rsplit("/", 1)[-1] == execution), None)
    if found is None:
        raise Problem(
            f"There is no execution {execution} of the pipeline {names.prefix}",
            f"the newest of {len(arns)} is {arns[0].rsplit('/', 1)[-1]}" if arns else "it has not run",
            f"list them: aws sagemaker list-pipeline-executions --pipeline-name {names.prefix}",
            code=Exit.USAGE,
        )
    return found


def look(aws: Aws, arn: str) -> Execution:
    """The execution as it is now."""
    sagemaker = aws.client("sagemaker")
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=arn, SortOrder="Ascending"
    )
    steps = tuple(_step(aws, raw) for page in pages for raw in page["PipelineExecutionSteps"])
    status, reason = described["PipelineExecutionStatus"], described.get("FailureReason", "")
    return Execution(arn, status, reason, steps, described["CreationTime"])


def follow(aws: Aws, arn: str, *, every: float = 1.0) -> Iterator[Execution]:
    """Yields the execution every `every` seconds until it has ended; the last one yielded is final."""
    while True:
        execution = look(aws, arn)
        yield execution
        if execution.status not in RUNNING:
            return
        time.sleep(every)


def continued(aws: Aws, arn: str) -> str | None:
    """ARN of the execution that goes on on demand where this one was stopped for want of spot; None without one."""
    sagemaker = aws.client("sagemaker")
    name = arn.split("/")[-3]
    for first in _SPOT_STEPS:
        try:
            listed = sagemaker.list_pipeline_executions(
                PipelineName=f"{name}-on-demand-{first}", SortOrder="Descending"
            )
        except ClientError as error:
            if error_code(error) not in {"ResourceNotFound", "AccessDeniedException"}:
                raise
            continue
        for summary in listed["PipelineExecutionSummaries"]:
            found = str(summary["PipelineExecutionArn"])
            described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=found)
            if arn in described.get("PipelineExecutionDescription", ""):
                return found
    return None


def _step(aws: Aws, raw: dict[str, Any]) -> Step:
    metadata = raw.get("Metadata") or {}
    kind = next(iter(metadata), "")
    inner = metadata.get(kind, {})
    detail = inner.get("Arn") or inner.get("Outcome") or inner.get("ErrorMessage") or ""
    source = raw.get("CacheHitResult", {}).get("SourcePipelineExecutionArn", "")
    return Step(
        name=raw["StepName"],
        status=raw["StepStatus"],
        started=raw.get("StartTime"),
        ended=raw.get("EndTime"),
        failure=raw.get("FailureReason", ""),
        kind={"TuningJob": "TuningJob", "HyperParameterTuningJob": "TuningJob"}.get(kind, kind),
        detail=detail,
        reused=Reused(source, _started(aws, source)) if source else None,
        outputs={item["Name"]: item["Value"] for item in inner.get("OutputParameters", ())},
    )


@lru_cache(maxsize=256)
def _started(aws: Aws, arn: str) -> datetime | None:
    """When an execution started, asked once: an execution is looked at every second."""
    try:
        moment: datetime = aws.client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)["CreationTime"]
    except ClientError:
        return None
    return moment


def parameters_of(aws: Aws, arn: str) -> dict[str, str]:
    """The parameters that an execution was started with; those that it left at their defaults are not among them."""
    pages = aws.client("sagemaker").get_paginator("list_pipeline_parameters_for_execution")
    found = pages.paginate(PipelineExecutionArn=arn)
    return {item["Name"]: item["Value"] for page in found for item in page["PipelineParameters"]}


def trials(aws: Aws, tuning_job: str) -> tuple[Trial, ...]:
    """The trials of a tuning job, oldest first."""
    pages = (
        aws.client("sagemaker")
        .get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        .paginate(HyperParameterTuningJobName=tuning_job, SortBy="CreationTime", SortOrder="Ascending")
    )
    return tuple(
        Trial(
            raw["TrainingJobName"],
            raw["TrainingJobStatus"],
            raw.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
            raw.get("TunedHyperParameters", {}),
        )
        for page in pages
        for raw in page["TrainingJobSummaries"]
    )


def log_tail(aws: Aws, step: Step, lines: int = 40) -> tuple[str, ...]:
    """The last log lines of the step's job; of its first failed trial when the step is a tuning job."""
    kind, job = step.kind, step.job
    if kind == "TuningJob":
        failed = [trial for trial in trials(aws, job) if trial.status == "Failed"]
        if not failed:
            return ()
        kind, job = "TrainingJob", failed[0].job
    if kind not in _LOG_GROUPS:
        return ()
    return job_log(aws, kind, job)[-lines:]


def job_log(aws: Aws, kind: str, job: str) -> tuple[str, ...]:
    """Everything that a training or processing job has logged so far; empty before its first line."""
    logs, group = aws.client("logs"), _LOG_GROUPS[kind]
    try:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return ()
        raise
    messages: list[str] = []
    for stream in streams:
        reply = logs.get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=False, limit=1000
        )
        messages.extend(event["message"].rstrip("\n") for event in reply["events"])
    return tuple(messages)


def explain(aws: Aws, execution: Execution) -> Problem:
    """Why an execution did not succeed, with the log of the job that failed."""
    refused = next((step for step in execution.steps if step.kind == "Fail"), None)
    if refused is not None:
        return Problem(
            "The pipeline refused the model",
            refused.detail or refused.failure or "the gate's condition was not met",
            f"read evaluation.json, then {_more_photos(aws, execution)}, or lower the parameter AccuracyThreshold",
        )
    failed = next((step for step in execution.steps if step.status == "Failed"), None)
    if failed is None:
        return Problem(
            f"The pipeline execution ended as {execution.status}",
            execution.failure or "the service gives no reason",
            f"look at it: aws sagemaker list-pipeline-execution-steps --pipeline-execution-arn {execution.arn}",
        )
    cure = f"the end of the log of {failed.job or failed.name} is above; correct it and start the pipeline again"
    if failed.kind == "Lambda":
        function = failed.detail.rpartition(":")[-1]
        cure = f"correct the parameter it names and start the pipeline again; its log is /aws/lambda/{function}"
    return Problem(
        f"Step {failed.name} failed",
        failed.failure or execution.failure or "the service gives no reason",
        cure,
        log=log_tail(aws, failed),
    )


def _more_photos(aws: Aws, execution: Execution) -> str:
    """How this pipeline comes to train on more photos."""
    try:
        described = aws.client("sagemaker").describe_pipeline(PipelineName=execution.arn.split("/")[-3])
        declared = json.loads(described["PipelineDefinition"]).get("Parameters", ())
        values = {item["Name"]: item.get("DefaultValue") for item in declared} | parameters_of(aws, execution.arn)
    except ClientError:
        values = {}
    if int(values.get("LimitPerClass") or 0):
        return f"train on more photos of each count than {values['LimitPerClass']}: --set LimitPerClass=..."
    where = values.get("PhotosUri") or "the same address"
    return f"put more photos at {where}: the next execution reads them"


def output(aws: Aws, step: Step, name: str) -> str | None:
    """S3 address of an output of a processing step, without a slash at its end; None where it has no such output."""
    job = aws.client("sagemaker").describe_processing_job(ProcessingJobName=step.job)
    outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return next((str(one["S3Output"]["S3Uri"]).rstrip("/") for one in outputs if one["OutputName"] == name), None)


def read_json(aws: Aws, uri: str) -> Any:
    """The JSON document at an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return json.loads(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
