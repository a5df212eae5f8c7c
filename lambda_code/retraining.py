"""Retraining: starts the pipeline after the drift alarm; the alarm's topic calls it.

To limit cost it starts one execution at a time, none soon after another, and none when the budget is spent. Executions
that continue on demand, in another pipeline, count too. The new model must still pass the gate and be approved
before it serves.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from budget_guard import current_budget, is_spent
from functions.aws import client, execution_summaries
from functions.interface import FunctionReport, read_environment, tell
from stacks.environments import RetrainingEnvironment
from stacks.names import command_of

_DAY_SECONDS = 86_400


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Decides about one message; SNS sends one in each event."""
    variables = read_environment(RetrainingEnvironment)
    alarm = json.loads(event["Records"][0]["Sns"]["Message"])
    if alarm["NewStateValue"] != "ALARM":
        return FunctionReport("left", f"the alarm is {alarm['NewStateValue']}").logged()
    pipeline, topic = variables.pipelines[0], variables.alerts_topic
    cause = f"Drift: {alarm['AlarmName']} since {alarm['StateChangeTime']}"
    executions = list(_executions(variables.pipelines))
    # SNS may deliver a message twice, and Lambda repeats a call that failed after the start.
    started = next((found.arn for found in executions if found.description == cause), "")
    if not started:
        objection = _objection(variables, executions)
        if objection:
            tell(
                topic,
                f"{pipeline}: drift, not retrained",
                f"The photos have drifted, but {objection}. An alarm calls once, so nothing starts later by itself "
                f"while the drift lasts.\n\nTo train when that is over: {command_of(pipeline, 'train')}",
            )
            return FunctionReport("left", objection).logged()
        started = client("sagemaker").start_pipeline_execution(
            PipelineName=pipeline,
            PipelineExecutionDescription=cause,
            # Of two calls at once, one starts it.
            ClientRequestToken=hashlib.sha256(cause.encode()).hexdigest(),
        )["PipelineExecutionArn"]
    tell(
        topic,
        f"{pipeline}: drift, retraining",
        f"The photos have drifted, so that {started} was started. A model that passes the gate waits for approval: "
        f"{command_of(pipeline, 'approve')}",
    )
    return FunctionReport("started", started).logged()


@dataclass(frozen=True)
class Execution:
    """One execution of a pipeline."""

    arn: str
    status: str
    description: str
    began: datetime.datetime


def _executions(pipelines: Iterable[str]) -> Iterator[Execution]:
    """All executions of each pipeline, its newest first."""
    for pipeline in pipelines:
        for each in execution_summaries(client("sagemaker"), pipeline):
            status, description = each["PipelineExecutionStatus"], each.get("PipelineExecutionDescription", "")
            yield Execution(each["PipelineExecutionArn"], status, description, each["StartTime"])


def _objection(variables: RetrainingEnvironment, executions: Sequence[Execution]) -> str | None:
    """Why no execution may start now, in words; None when one may."""
    budget = current_budget(variables.account, variables.budget)
    if is_spent(budget, variables.guard_percent):
        return f"{budget}"
    # Not the newest alone: one that began before it may run on.
    for found in executions:
        if found.status in {"Executing", "Stopping"}:
            return f"{found.arn} is still running"
    if executions:
        newest = max(found.began for found in executions)
        age = (datetime.datetime.now(datetime.UTC) - newest).total_seconds() / _DAY_SECONDS
        if age < variables.retrain_days:
            return f"the newest execution is {age:.1f} days old, less than {variables.retrain_days:g}"
    return None
