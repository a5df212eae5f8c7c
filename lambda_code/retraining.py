"""Retraining: starts the pipeline after the drift alarm; the alarm's topic calls it.

To limit cost it starts one execution at a time, none soon after another, and none when the budget is spent. The new
model must still pass the gate and be approved before it serves.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Any

import boto3

from budget_guard import current_budget, is_spent
from functions.interface import FunctionReport, read_environment, tell
from stacks.environments import RetrainingEnvironment

_DAY_SECONDS = 86_400


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Decides about one message; SNS sends one in each event."""
    variables = read_environment(RetrainingEnvironment)
    alarm = json.loads(event["Records"][0]["Sns"]["Message"])
    if alarm["NewStateValue"] != "ALARM":
        return FunctionReport("left", f"the alarm is {alarm['NewStateValue']}").logged()
    pipeline, topic = variables.pipeline, variables.alerts_topic
    objection = _objection(variables)
    if objection:
        tell(topic, f"{pipeline}: drift, not retrained", f"The photos have drifted, but {objection}.")
        return FunctionReport("left", objection).logged()
    started = boto3.client("sagemaker").start_pipeline_execution(
        PipelineName=pipeline,
        PipelineExecutionDescription=f"Drift: {alarm['AlarmName']} since {alarm['StateChangeTime']}",
        # SNS may deliver a message twice: the same alarm starts one execution.
        ClientRequestToken=hashlib.sha256(f"{alarm['AlarmName']} {alarm['StateChangeTime']}".encode()).hexdigest(),
    )["PipelineExecutionArn"]
    tell(
        topic,
        f"{pipeline}: drift, retraining",
        f"The photos have drifted, so that {started} was started. A model that passes the gate waits for approval: "
        "binventory approve",
    )
    return FunctionReport("started", started).logged()


def _objection(variables: RetrainingEnvironment) -> str | None:
    """Why no execution may start now, in words; None when one may."""
    budget = current_budget(variables.account, variables.budget)
    if is_spent(budget, variables.guard_percent):
        return f"{budget}"
    newest = boto3.client("sagemaker").list_pipeline_executions(
        PipelineName=variables.pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )["PipelineExecutionSummaries"]
    if not newest:
        return None
    if newest[0]["PipelineExecutionStatus"] in {"Executing", "Stopping"}:
        return f"{newest[0]['PipelineExecutionArn']} is still running"
    days = variables.retrain_days
    age = (datetime.datetime.now(datetime.UTC) - newest[0]["StartTime"]).total_seconds() / _DAY_SECONDS
    return f"the newest execution is {age:.1f} days old, less than {days:g}" if age < days else None
