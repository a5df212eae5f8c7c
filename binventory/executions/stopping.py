"""Stops executions of the pipeline, and every job of theirs that continues without its execution."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.executions.execution import NO_PIPELINE, RUNNING, Execution, look
from binventory.executions.job_kinds import KINDS, ask_to_stop, describe
from binventory.executions.jobs import trials
from stacks.names import pipeline_names

_BUSY: Final = frozenset({"InProgress", "Stopping"})
# A step that runs a function ends with the function, within ten minutes; a job has two minutes to end.
_LONGEST_SECONDS: Final = 15 * 60.0


def running(aws: Aws, names: Names) -> tuple[str, ...]:
    """ARNs of the environment's executions that run, also of those that continue one on demand.

    Raises Problem where there is no pipeline: an execution may run in another region, and bill.
    """
    sagemaker = aws.client("sagemaker")
    found: list[str] = []
    for pipeline in pipeline_names(names.prefix, continuing=True):
        pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline)
        try:
            listed = [item for page in pages for item in page["PipelineExecutionSummaries"]]
        except ClientError as error:
            if pipeline == names.prefix and error_code(error) == "ResourceNotFound":
                raise Problem(
                    "Nothing was stopped",
                    f"there is no pipeline {pipeline} in {aws.place}, with these credentials",
                    "export AWS_REGION with the region that it is in, and sign in to its account",
                    code=Exit.NOT_READY,
                ) from error
            # Further pipelines exist only where the settings ask for them, and need not be readable.
            if pipeline == names.prefix or error_code(error) not in NO_PIPELINE:
                raise
            continue
        found += [item["PipelineExecutionArn"] for item in listed if item["PipelineExecutionStatus"] in RUNNING]
    return tuple(found)


def ask_all(aws: Aws, arns: Iterable[str]) -> None:
    """Asks each execution to stop before any is waited for, since the last would bill meanwhile.

    One that may not be stopped keeps none of the others from it: `stop` says why when its turn comes.
    """
    for arn in arns:
        with contextlib.suppress(ClientError):
            _ask_execution(aws, look(aws, arn))


def stop(aws: Aws, arn: str, *, timeout: float = _LONGEST_SECONDS) -> Iterator[str]:
    """Stops an execution and yields what happens; returns when neither it nor a job of it runs.

    Raises:
        Problem: something of it still runs when the time is up.
        ClientError: something of it runs on that may not be stopped.
    """
    every = 0.3 if aws.is_local else 5.0
    until = time.monotonic() + timeout
    execution = look(aws, arn)
    if _ask_execution(aws, execution):
        yield "asked to stop"
    while execution.status in RUNNING:
        execution = look(aws, arn)
        at = [f"{step.name} {step.status.lower()}" for step in execution.steps if step.status in RUNNING]
        yield ", ".join(at) or execution.status.lower()
        _in_time(
            until, f"The execution {execution.id}", f"it is {execution.status} ({', '.join(at) or 'no step runs'})"
        )
        if execution.status in RUNNING:
            time.sleep(every)
    for step in execution.steps:
        if step.kind not in KINDS or step.reused is not None or not step.job:
            continue
        jobs = [(step.kind, step.job)]
        if step.kind == "TuningJob":
            jobs += [("TrainingJob", trial.job) for trial in trials(aws, step.job) if trial.status in _BUSY]
        for kind, job in jobs:
            while (status := describe(aws, kind, job)[KINDS[kind].status]) in _BUSY:
                if status == "InProgress":
                    _ask(
                        partial(ask_to_stop, aws, kind, job),
                        lambda kind=kind, job=job: describe(aws, kind, job)[KINDS[kind].status] == "InProgress",  # type: ignore[misc]
                    )
                yield f"the job {job} is stopping"
                _in_time(until, f"The job {job}", f"it is {status}")
                time.sleep(every)
    yield execution.status.lower()


def _ask_execution(aws: Aws, execution: Execution) -> bool:
    """Asks an execution to stop; False where it has ended, or was asked before."""
    if execution.status != "Executing":
        return False
    token, sagemaker = uuid.uuid4().hex, aws.client("sagemaker")
    _ask(
        lambda: sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution.arn, ClientRequestToken=token),
        lambda: look(aws, execution.arn).status == "Executing",
    )
    return True


def _ask(ask: Callable[[], object], runs: Callable[[], bool]) -> None:
    """Ask something to stop that may end by itself at the same moment, which is no error."""
    try:
        ask()
    except ClientError:
        if runs():
            raise


def _in_time(until: float, what: str, why: str) -> None:
    if time.monotonic() > until:
        raise Problem(
            f"{what} has not stopped yet",
            f"{why}, and may still bill",
            "wait for it: run the same command again",
        )
