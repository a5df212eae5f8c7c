"""Stored pipeline executions: how they and their steps change while they run, and the cache of steps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.core.record import Record
from local_aws.pipelines.definition import PipelineStep

FAMILY = "PipelineExecution"
CACHE_FAMILY = "PipelineStepCache"
STEPS = "_Steps"
ENDED = frozenset({"Succeeded", "Failed", "Stopped"})


class ExecutionRecord(Record):
    """One stored execution. A change of the execution or of a step is stored, then announced."""

    def __init__(self, context: Context, arn: str) -> None:
        super().__init__(context, FAMILY, arn)

    def step(self, name: str) -> Document | None:
        """A step as stored now; None before it has started."""
        step: Document | None = self.read()[STEPS].get(name)
        return step

    def begin_step(self, step: PipelineStep) -> None:
        """Store that a step starts; a step that ran when the local AWS stopped keeps its members."""
        now = self._context.now()

        def change(execution: Document) -> None:
            execution[STEPS].setdefault(
                step.name,
                {"StepName": step.name, "StartTime": now, "StepStatus": "Starting", "AttemptCount": 1, **step.shown},
            )

        self._table.update(self.key, change)
        self._announce_step(step, None)

    def change_step(self, step: PipelineStep, **members: Any) -> None:
        """Set members of a step; with a final status also its EndTime. A step that has ended is not Stopping again."""
        now = self._context.now()
        previous: list[str] = []

        def change(execution: Document) -> None:
            stored = execution[STEPS][step.name]
            if members.get("StepStatus") == "Stopping" and stored["StepStatus"] in ENDED:
                return
            previous.append(stored["StepStatus"])
            stored.update({name: value for name, value in members.items() if value is not None})
            if members.get("StepStatus") in ENDED:
                stored["EndTime"] = now
            execution["LastModifiedTime"] = now

        self._table.update(self.key, change)
        if previous and members.get("StepStatus") not in (None, *previous):
            self._announce_step(step, previous[0])

    def end(self, status: str, reason: str | None = None) -> None:
        """Give the execution its final status."""
        self.change(PipelineExecutionStatus=status, FailureReason=reason)

    def announce(self, document: Document, previous: str | None) -> None:
        """Send "SageMaker Model Building Pipeline Execution Status Change"."""
        detail = {
            "pipelineArn": document["PipelineArn"],
            "pipelineExecutionArn": self.key,
            "pipelineExecutionDisplayName": document.get("PipelineExecutionDisplayName", ""),
            "currentPipelineExecutionStatus": document["PipelineExecutionStatus"],
            "executionStartTime": _iso(document["CreationTime"]),
        }
        if previous:
            detail["previousPipelineExecutionStatus"] = previous
        if document["PipelineExecutionStatus"] in ENDED:
            detail["executionEndTime"] = _iso(document["LastModifiedTime"])
        self._context.emit_event(
            "SageMaker Model Building Pipeline Execution Status Change", detail, [document["PipelineArn"], self.key]
        )

    def _announce_step(self, step: PipelineStep, previous: str | None) -> None:
        execution = self.read()
        stored = execution[STEPS][step.name]
        detail = {
            "metadata": _as_in_events(stored.get("Metadata", {})),
            "stepStartTime": _iso(stored["StartTime"]),
            "stepType": step.type,
            "stepName": step.name,
            "currentStepStatus": stored["StepStatus"],
            "pipelineArn": execution["PipelineArn"],
            "pipelineExecutionArn": self.key,
            "cacheHitResult": _as_in_events(stored.get("CacheHitResult", {})),
        }
        if previous:
            detail["previousStepStatus"] = previous
        if "EndTime" in stored:
            detail["stepEndTime"] = _iso(stored["EndTime"])
        if "FailureReason" in stored:
            detail["failureReason"] = stored["FailureReason"]
        self._context.emit_event(
            "SageMaker Model Building Pipeline Execution Step Status Change",
            detail,
            [execution["PipelineArn"], self.key],
        )

    def earlier_success(self, key: str, max_age: float) -> Document | None:
        """The result of an equal run of a step, if it is not older than `max_age` seconds."""
        found = self._context.table(CACHE_FAMILY).get(key)
        if found is None or self._context.now() - found["Time"] > max_age:
            return None
        return found

    def remember_success(self, key: str, metadata: Document, properties: Document) -> None:
        """Store the result of a step for later executions of the same pipeline."""
        entry = {"Time": self._context.now(), "Execution": self.key, "Metadata": metadata, "Properties": properties}
        self._context.table(CACHE_FAMILY).put(key, entry)


def forget_successes(context: Context, executions: set[str]) -> None:
    """Remove what steps of these executions have left in the cache."""
    table = context.table(CACHE_FAMILY)
    for key, entry in table.items():
        if entry["Execution"] in executions:
            table.delete(key)


def _as_in_events(value: Any) -> Any:
    """A value of the API as events have it: names of members begin with small letters."""
    if isinstance(value, list):
        return [_as_in_events(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name[:1].lower() + name[1:]: _as_in_events(item) for name, item in value.items()}


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def execution_values(execution: Document, now: float) -> Document:
    """The values of the references `Execution.*`."""
    return {
        "PipelineName": execution["_PipelineName"],
        "PipelineArn": execution["PipelineArn"],
        "PipelineExecutionId": execution["_Id"],
        "PipelineExecutionArn": execution["PipelineExecutionArn"],
        "StartDateTime": _iso(execution["CreationTime"]),
        "CurrentDateTime": _iso(now),
    }
