"""Spot fallback: continues a job on demand after spot has reclaimed it too often.

EventBridge calls it when a training job is interrupted or starts again. The event is a hint; the job's history decides.
The rule matches the names that pipelines give to their jobs, so jobs of other pipelines may be among them: one that the
function may not describe is not of this environment.
A running execution cannot change its machines. So another pipeline continues it: the one that begins with the step of
the reclaimed job. The new execution is started first, then the waiting one is stopped. Both requests may be repeated,
so if a call fails between them, the next call completes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError

from functions.aws import DENIED
from functions.interface import FunctionReport, read_environment, tell
from stacks.environments import SpotFallbackEnvironment
from stacks.names import CONTINUED_EXECUTION, command_of

_RUNNING = "Executing"
_PART = re.compile(r"(\w+)((?:\['[^']+'\])?)")
_DESCRIBE = {
    "ProcessingJob": ("describe_processing_job", "ProcessingJobName"),
    "TrainingJob": ("describe_training_job", "TrainingJobName"),
    "TuningJob": ("describe_hyper_parameter_tuning_job", "HyperParameterTuningJobName"),
}


@dataclass(frozen=True)
class RunningExecution:
    """A running pipeline execution, with the jobs and results of its steps."""

    arn: str
    jobs: Mapping[str, tuple[str, str]]
    """Kind and ARN of each step's job, by the step's name."""
    returned: Mapping[str, Mapping[str, str]]
    """Output parameters of each Lambda step, by the step's name."""

    @property
    def id(self) -> str:
        """The last part of the ARN."""
        return self.arn.rsplit("/", 1)[-1]


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Decides about the job that the event names.

    Raises:
        botocore.exceptions.ClientError, RuntimeError: the execution still waits; Lambda tries again.
    """
    variables = read_environment(SpotFallbackEnvironment)
    name = event.get("detail", {}).get("TrainingJobName", "")
    sagemaker = boto3.client("sagemaker")
    job = _describe(sagemaker, name)
    if job is None:
        return FunctionReport("left", f"{name} is not a job of this environment").logged()
    limit = variables.reclaims
    reclaims = sum(item["Status"] == "Interrupted" for item in job.get("SecondaryStatusTransitions", []))
    if not job.get("EnableManagedSpotTraining"):
        return FunctionReport("left", f"{name} does not run on spot").logged()
    if reclaims < limit:
        return FunctionReport(
            "left", f"{name} was reclaimed {reclaims} times; it continues on demand after {limit}"
        ).logged()
    found = _step_of(sagemaker, variables.pipeline, job)
    if found is None:
        return FunctionReport("left", f"{name} belongs to no running execution of {variables.pipeline}").logged()
    step, execution = found
    # The same for every call about this job. A person may retry the execution: then another job is reclaimed.
    token = hashlib.sha256(f"{execution.arn} {execution.jobs[step][1].lower()}".encode()).hexdigest()
    started = _continue(sagemaker, variables, variables.continuations[step], execution, token)
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution.arn, ClientRequestToken=token)
    reason = f"{name} was reclaimed {reclaims} times; step {step} and what follows run on demand in {started}"
    tell(
        variables.alerts_topic,
        f"{variables.pipeline}: spot capacity is short, continuing on demand",
        f"{reason}.\n\nFollow it with: {command_of(variables.pipeline, f'watch {started}')}\n"
        f"The waiting execution {execution.arn} is stopped.",
    )
    return FunctionReport("started", reason).logged()


def _describe(sagemaker: Any, name: str) -> Mapping[str, Any] | None:
    """The training job; None for one that the function may not see, which is another system's."""
    try:
        found: Mapping[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        return None
    return found


def _step_of(sagemaker: Any, pipeline: str, job: Mapping[str, Any]) -> tuple[str, RunningExecution] | None:
    """The step that a job (or the search that it is a trial of) belongs to, in an execution that runs.

    SageMaker's operations do not all write the name in an ARN in the same letters, small or capital.
    """
    wanted = {job["TrainingJobArn"].lower(), job.get("TuningJobArn", "").lower()}
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
    for page in pages:
        for summary in page["PipelineExecutionSummaries"]:
            if summary["PipelineExecutionStatus"] != _RUNNING:
                continue
            execution = _execution(sagemaker, summary["PipelineExecutionArn"])
            for step, (_, arn) in execution.jobs.items():
                if arn.lower() in wanted:
                    return step, execution
    return None


def _execution(sagemaker: Any, arn: str) -> RunningExecution:
    jobs: dict[str, tuple[str, str]] = {}
    returned: dict[str, dict[str, str]] = {}
    for page in sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=arn):
        for step in page["PipelineExecutionSteps"]:
            for kind, described in step.get("Metadata", {}).items():
                if kind in _DESCRIBE:
                    jobs[step["StepName"]] = kind, described["Arn"]
                elif kind == "Lambda":
                    outputs = described.get("OutputParameters", [])
                    returned[step["StepName"]] = {item["Name"]: item["Value"] for item in outputs}
    return RunningExecution(arn, jobs, returned)


def _continue(
    sagemaker: Any,
    variables: SpotFallbackEnvironment,
    pipeline: Mapping[str, str],
    execution: RunningExecution,
    token: str,
) -> str:
    """Starts the continuing pipeline; returns the ARN of its execution, the same for every call with the token."""
    pages = sagemaker.get_paginator("list_pipeline_parameters_for_execution").paginate(
        PipelineExecutionArn=execution.arn
    )
    values = {item["Name"]: item["Value"] for page in pages for item in page["PipelineParameters"]}
    taken = pipeline["takes"].split()
    values |= {name: _result(sagemaker, execution, path) for name, path in variables.results.items() if name in taken}
    values[CONTINUED_EXECUTION] = execution.id
    reply = sagemaker.start_pipeline_execution(
        PipelineName=pipeline["name"],
        PipelineExecutionDescription=f"Continues {execution.arn} on demand",
        PipelineParameters=[{"Name": name, "Value": values[name]} for name in taken if name in values],
        ClientRequestToken=token,
    )
    return str(reply["PipelineExecutionArn"])


def _result(sagemaker: Any, execution: RunningExecution, path: str) -> str:
    """A property of a finished step, for example `Steps.Tune.BestTrainingJob.TunedHyperParameters['lr']`."""
    _, step, *rest = path.split(".")
    if step in execution.returned:
        match = _PART.fullmatch(rest[0])
        return execution.returned[step][match.group(2)[2:-2] if match else ""]
    if step not in execution.jobs:
        raise RuntimeError(f"step {step} of {execution.arn} has no job yet, but {path} is needed")
    kind, arn = execution.jobs[step]
    operation, member = _DESCRIBE[kind]
    value: Any = getattr(sagemaker, operation)(**{member: arn.rsplit("/", 1)[-1]})
    for part in rest:
        value = _member(value, part)
    return str(value)


def _member(value: Any, part: str) -> Any:
    match = _PART.fullmatch(part)
    if match is None:
        raise RuntimeError(f"{part} is no member of a step's result")
    value = value[match.group(1)]
    key = match.group(2)[2:-2]
    if not key:
        return value
    if isinstance(value, list):
        return next(item for item in value if item["OutputName"] == key)
    return value[key]
