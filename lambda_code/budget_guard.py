"""Caps the cost: when the budget is spent, the endpoint is turned off and running executions are stopped.

AWS Budgets calls it with every alert. The alert is taken as a hint; the decision is made on the budget itself.
"""

from __future__ import annotations

import os
from typing import Any

import boto3

from budget import current_budget, guard_percent
from endpoint import Report, is_on, serving_stack, switch, tell


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """First the endpoint, which bills until somebody acts; then the executions, which end by themselves."""
    budget = current_budget()
    if budget.percent < guard_percent():
        return Report("left", f"{budget}; the guard acts at {guard_percent():.0f}%").logged()
    stack = serving_stack()
    report = Report("left", f"{budget}; the endpoint is off")
    if is_on(stack):
        report = switch(stack, "off", str(budget))
    stopped = sum(_stop_executions(pipeline) for pipeline in os.environ["PIPELINES"].split())
    if report.outcome == "turned off" or stopped:
        tell(
            f"{budget.name}: the budget is spent",
            f"{budget}. The endpoint: {report.outcome}. Pipeline executions stopped: {stopped}.\n"
            "The endpoint stays off until it is turned on by hand: binventory endpoint on",
        )
    if report.outcome == "busy":
        # Lambda tries again: unlike the idle guard, this one has no schedule that would.
        raise RuntimeError(report.reason)
    return Report(report.outcome, f"{report.reason}; executions stopped: {stopped}").logged()


def _stop_executions(pipeline: str) -> int:
    sagemaker = boto3.client("sagemaker")
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
    running = [
        execution["PipelineExecutionArn"]
        for page in pages
        for execution in page["PipelineExecutionSummaries"]
        if execution["PipelineExecutionStatus"] == "Executing"
    ]
    for arn in running:
        # The token makes a repeated call for the same execution the same call.
        sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=arn[-32:].rjust(32, "0"))
    return len(running)
