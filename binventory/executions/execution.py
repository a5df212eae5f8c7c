"""One execution of the pipeline, its steps, and how to follow it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError

from binventory.core.aws import DENIED, Aws
from stacks.names import EMBED, EVALUATE, FINGERPRINT, GATE, INGEST, REGISTER, SEAL, TRAIN, TUNE

STEPS = (FINGERPRINT, INGEST, SEAL, EMBED, TUNE, TRAIN, EVALUATE, GATE, REGISTER)
RUNNING = frozenset({"Starting", "Executing", "Stopping"})
NO_PIPELINE = DENIED | {"ResourceNotFound"}
"""Codes of a pipeline that is not there or may not be read: only the environment's first one must be."""


def named(arn: str, started: datetime | None) -> str:
    """The name of an execution for people, with its time where that is known."""
    when = f" of {started.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if started else ""
    return f"the execution {arn.rsplit('/', 1)[-1]}{when}"


@dataclass(frozen=True)
class ReusedResult:
    """The earlier execution from which a cached step's result was taken."""

    execution: str
    """Its ARN."""
    started: datetime | None
    """None where it is no longer known."""

    def __str__(self) -> str:
        return f"reused from {named(self.execution, self.started)}"


@dataclass(frozen=True)
class ExecutionStep:
    """One step of an execution as the service reports it."""

    name: str
    status: str  # Starting | Executing | Stopping | Stopped | Failed | Succeeded
    started: datetime | None
    ended: datetime | None
    failure: str
    kind: str  # TrainingJob | ProcessingJob | TuningJob | Lambda | Condition | RegisterModel | Fail | ""
    detail: str  # ARN of the job, function or package, outcome of a condition, message of a Fail step
    reused: ReusedResult | None = None
    """Set when the step cache had the result: nothing ran, and nothing is billed."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """The values that the function of a Lambda step returned."""
    attempts: int = 1
    """How often it was tried: SageMaker repeats what failed by no fault of the script, and shows the last job only."""

    @property
    def job(self) -> str:
        """The job's name, from its ARN."""
        return self.detail.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Execution:
    """A pipeline execution at one moment, its steps in the order in which they started."""

    arn: str
    status: str
    failure: str
    steps: tuple[ExecutionStep, ...]
    started: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of the ARN; artefacts are stored under executions/<id>/."""
        return self.arn.rsplit("/", 1)[-1]

    def step(self, name: str) -> ExecutionStep | None:
        """The step with this name, if it has started."""
        return next((step for step in self.steps if step.name == name), None)


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


def _step(aws: Aws, raw: dict[str, Any]) -> ExecutionStep:
    metadata = raw.get("Metadata") or {}
    kind = next(iter(metadata), "")
    inner = metadata.get(kind, {})
    detail = inner.get("Arn") or inner.get("Outcome") or inner.get("ErrorMessage") or ""
    source = raw.get("CacheHitResult", {}).get("SourcePipelineExecutionArn", "")
    return ExecutionStep(
        name=raw["StepName"],
        status=raw["StepStatus"],
        started=raw.get("StartTime"),
        ended=raw.get("EndTime"),
        failure=raw.get("FailureReason", ""),
        kind=kind,
        detail=detail,
        reused=ReusedResult(source, _started(aws, source)) if source else None,
        outputs={item["Name"]: item["Value"] for item in inner.get("OutputParameters", ())},
        attempts=int(raw.get("AttemptCount", 1)),
    )


@lru_cache(maxsize=256)
def _started(aws: Aws, arn: str) -> datetime | None:
    """When an execution started; cached, because executions are read every second."""
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
