"""Why an execution did not succeed, and what to do about it."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from binventory.assembly.definitions import defaults_of
from binventory.core.aws import DENIED, Aws, error_code, error_message
from binventory.core.errors import Problem
from binventory.executions.execution import Execution, ExecutionStep, parameters_of
from binventory.executions.job_kinds import KINDS, describe
from binventory.executions.jobs import LOG_GROUPS, log_tail, output, read_json, trials
from stacks.names import EVALUATE, LIMIT_PER_CLASS, PHOTOS_URI


def reason(aws: Aws, execution: Execution) -> str:
    """Why an execution did not succeed: the gate's figures, or the own reason of the job that failed.

    Empty for one that runs or has succeeded. An execution's own reason says only that a step has failed.
    """
    if execution.status not in {"Failed", "Stopped"}:
        return ""
    if (refused := _refused(execution)) is not None:
        return _of_gate(aws, execution) or refused.detail or refused.failure or "the gate's condition was not met"
    failed = _failed(execution)
    if failed is None:
        return execution.failure
    return f"step {failed.name}: {_of_job(aws, failed) or failed.failure or 'SageMaker gives no reason'}"


def _refused(execution: Execution) -> ExecutionStep | None:
    return next((step for step in execution.steps if step.kind == "Fail"), None)


def _failed(execution: Execution) -> ExecutionStep | None:
    return next((step for step in execution.steps if step.status == "Failed"), None)


def _of_gate(aws: Aws, execution: Execution) -> str:
    """By how much the model misses what, from its evaluation; empty where that cannot be read."""
    step = execution.step(EVALUATE)
    try:
        uri = output(aws, step, "evaluation") if step is not None and step.job else None
        found = read_json(aws, f"{uri}/evaluation.json") if uri else {}
    except (ClientError, ValueError):
        return ""
    return "; ".join(found.get("binventory", {}).get("gate", {}).get("reasons", ()))


def _of_job(aws: Aws, step: ExecutionStep) -> str:
    """The reason that the step's job gives itself; of its first failed trial when the step tunes."""
    if step.kind not in KINDS or not step.job:
        return ""
    kind, job = step.kind, step.job
    try:
        if kind == "TuningJob" and (bad := next((t for t in trials(aws, job) if t.status == "Failed"), None)):
            return f"trial {bad.job}: {_said(aws, 'TrainingJob', bad.job)}"
        return _said(aws, kind, job)
    except ClientError:
        return ""  # these credentials follow executions only


def _said(aws: Aws, kind: str, job: str) -> str:
    described = describe(aws, kind, job)
    # What a processing job's script says is its exit message.
    parts = (described.get("FailureReason", ""), described.get("ExitMessage", ""))
    return "; ".join(dict.fromkeys(part for part in parts if part))


def explain(aws: Aws, execution: Execution) -> Problem:
    """Why an execution did not succeed, with the log of the job that failed."""
    if _refused(execution) is not None:
        return Problem(
            "The pipeline refused the model",
            reason(aws, execution),
            f"read evaluation.json, then {_more_photos(aws, execution)}, or lower the parameter AccuracyThreshold",
        )
    failed = _failed(execution)
    if failed is None:
        return Problem(
            f"The pipeline execution ended as {execution.status}",
            execution.failure or "the service gives no reason",
            f"look at it: aws sagemaker list-pipeline-execution-steps --pipeline-execution-arn {execution.arn}",
        )
    log, where = _log(aws, failed)
    cure = f"correct it and start the pipeline again; {where}"
    if failed.kind == "Lambda":
        function = failed.detail.rpartition(":")[-1]
        cure = f"correct the parameter it names and start the pipeline again; its log is /aws/lambda/{function}"
    return Problem(
        f"Step {failed.name} failed",
        _of_job(aws, failed) or failed.failure or execution.failure or "the service gives no reason",
        cure,
        log=log,
    )


def _log(aws: Aws, failed: ExecutionStep) -> tuple[tuple[str, ...], str]:
    """The end of the log of a step's job, and where the log is."""
    group = LOG_GROUPS.get("TrainingJob" if failed.kind == "TuningJob" else failed.kind, "")
    whole = f"its log is {group}/{failed.job}" if group and failed.job else "it has no job, and so no log"
    try:
        log = log_tail(aws, failed)
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return (), f"you may not read its log: {error_message(error)}"
    return log, f"the end of the log of {failed.job} is above" if log else whole


def _more_photos(aws: Aws, execution: Execution) -> str:
    """What to do to train on more photos."""
    try:
        described = aws.client("sagemaker").describe_pipeline(PipelineName=execution.arn.split("/")[-3])
        values = defaults_of(json.loads(described["PipelineDefinition"])) | parameters_of(aws, execution.arn)
    except ClientError:
        values = {}
    if int(values.get(LIMIT_PER_CLASS) or 0):
        return f"train on more photos of each count than {values[LIMIT_PER_CLASS]}: --set {LIMIT_PER_CLASS}=..."
    where = values.get(PHOTOS_URI) or "the same address"
    return f"put more photos at {where}: the next execution reads them"
