"""Reads everything that a report shows, once; parts that an execution lacks stay empty."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from binventory import executions
from binventory.core.aws import Aws
from binventory.cost.spent import Meter, Spent
from stacks.names import EVALUATE, TRAIN, TUNE

_LOG_LINES = 10_000
"""Of a training: two an epoch, of which there may be a thousand."""
_METRIC = re.compile(r"([\w:]+)=(-?[\d.]+(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True)
class Epoch:
    """The metrics that a training job printed after an epoch: `train:loss`, `validation:accuracy` and so on."""

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """The learning curve of one training job."""

    job: str
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class RunRecord:
    """One execution with everything that its report shows."""

    execution: executions.Execution
    description: str
    started: datetime
    ended: datetime
    parameters: dict[str, str]
    trials: tuple[executions.Trial, ...]
    trial_curves: tuple[Curve, ...]
    training: Curve | None
    evaluation: dict[str, Any]
    """evaluation.json; empty where the execution did not evaluate."""
    spent: Spent
    reason: str = ""
    """Why it did not succeed; empty where it has, or runs."""

    @property
    def best(self) -> executions.Trial | None:
        """The trial with the smallest objective."""
        return executions.best_of(self.trials)


def read(aws: Aws, arn: str, *, now: datetime | None = None) -> RunRecord:
    """Reads an execution, whether it has ended or not.

    now: until when an execution that runs is shown; None: until this moment.
    """
    described = aws.client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
    execution = executions.look(aws, arn)
    tune, train = execution.step(TUNE), execution.step(TRAIN)
    trials = executions.trials(aws, tune.job) if tune is not None and tune.job else ()
    return RunRecord(
        execution=execution,
        description=described.get("PipelineExecutionDescription", ""),
        started=described["CreationTime"],
        # The last change of one that runs is its start.
        ended=(now or datetime.now(UTC)) if execution.status in executions.RUNNING else described["LastModifiedTime"],
        parameters=executions.parameters_of(aws, arn),
        trials=trials,
        trial_curves=tuple(curve_of(aws, trial.job) for trial in trials),
        training=curve_of(aws, train.job) if train is not None and train.job else None,
        evaluation=_evaluation(aws, execution),
        spent=Meter(aws).read(execution),
        reason=executions.reason(aws, execution),
    )


def epochs(lines: Sequence[str]) -> tuple[Epoch, ...]:
    """The epochs in a training job's log. One that was run again after a reclaim counts as it was the last time."""
    found: dict[int, Epoch] = {}
    for line in lines:
        if line.startswith("epoch="):
            values = {name: float(value) for name, value in _METRIC.findall(line)}
            number = int(values.pop("epoch"))
            found[number] = Epoch(number, values)
    return tuple(found[number] for number in sorted(found))


def curve_of(aws: Aws, job: str) -> Curve:
    """The learning curve of a training job, from its log."""
    return Curve(job, epochs(executions.job_log(aws, "TrainingJob", job, lines=_LOG_LINES)))


def _evaluation(aws: Aws, execution: executions.Execution) -> dict[str, Any]:
    step = execution.step(EVALUATE)
    if step is None or step.status != "Succeeded":
        return {}
    uri = executions.output(aws, step, "evaluation")
    return dict(executions.read_json(aws, f"{uri}/evaluation.json")) if uri else {}
