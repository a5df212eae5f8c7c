"""Pipeline executions as the report reads them: one that succeeded, and one that failed early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from binventory.cost.spent import JobSpent, Spent, StepSpent
from binventory.executions import Execution, ExecutionStep, Trial
from binventory.report.record import Curve, RunRecord, epochs

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ARN = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/binventory-dev/execution/h3scz028jl4e"
SCRIPT = "<script>alert(1)</script>"
# Minutes at which each step starts and ends.
STEPS = {
    "Ingest": ("ProcessingJob", 0, 2),
    "Embed": ("TrainingJob", 2, 5),
    "Tune": ("TuningJob", 5, 9),
    "Train": ("TrainingJob", 9, 10),
    "Evaluate": ("ProcessingJob", 10, 12),
    "Gate": ("Condition", 12, 12),
    "Register": ("RegisterModel", 12, 12),
}
RATES = (0.0490, 0.0205, 0.0168, 0.0066, 0.0137)
LOSSES = (15.9935, 1.5130, 1.5349, 1.5111, 1.5199)


def record(evaluation: dict[str, Any], description: str = SCRIPT) -> RunRecord:
    """An execution that registered a model; its evaluation as the Evaluate job writes it."""
    trials = tuple(
        Trial(f"trial-{number}", "Completed", loss, {"lr": str(rate), "batch-size": str(32 * number)})
        for number, (rate, loss) in enumerate(zip(RATES, LOSSES, strict=True), start=1)
    )
    return RunRecord(
        execution=Execution(ARN, "Succeeded", "", tuple(_step(name) for name in STEPS)),
        description=description,
        started=START,
        ended=START + timedelta(minutes=12),
        parameters={"PhotosUri": "s3://aft-vbi-pds/", "Epochs": "12", SCRIPT: '"><img src=x onerror=alert(2)>'},
        trials=trials,
        trial_curves=tuple(Curve(trial.job, epochs(_log(trial.objective or 0, 6))) for trial in trials),
        training=Curve("train", epochs(_log(1.5, 12))),
        evaluation=evaluation,
        spent=Spent(ARN, "us-east-1", tuple(_spent(name) for name, (kind, *_) in STEPS.items() if "Job" in kind)),
    )


def failed() -> RunRecord:
    """An execution that came no further than its first step."""
    step = ExecutionStep(
        "Ingest", "Failed", START, START + timedelta(minutes=1), "the disk is full", "ProcessingJob", ""
    )
    return RunRecord(
        execution=Execution(ARN, "Failed", "Step failure", (step,)),
        description="",
        started=START,
        ended=START + timedelta(minutes=1),
        parameters={},
        trials=(),
        trial_curves=(),
        training=None,
        evaluation={},
        spent=Spent(ARN, "us-east-1", ()),
    )


def _step(name: str) -> ExecutionStep:
    kind, start, end = STEPS[name]
    detail = "True" if kind == "Condition" else f"arn:aws:sagemaker:us-east-1:123456789012:job/pipelines-{name.lower()}"
    return ExecutionStep(
        name, "Succeeded", START + timedelta(minutes=start), START + timedelta(minutes=end), "", kind, detail
    )


def _log(loss: float, count: int) -> list[str]:
    return [
        f"epoch={number} train:loss={loss + 1 / number:.5g} train:accuracy={0.3 + number / 50:.5g} "
        f"validation:loss={loss + 1.2 / number:.5g} validation:accuracy={0.28 + number / 60:.5g}"
        for number in range(1, count + 1)
    ]


def _spent(name: str) -> StepSpent:
    kind, start, end = STEPS[name]
    count = len(RATES) if kind == "TuningJob" else 1
    begun, ended = START + timedelta(minutes=start), START + timedelta(minutes=end)
    jobs = tuple(
        JobSpent(f"{name}-{n}", "TrainingJob", "Completed", "ml.m5.xlarge", 1, True, begun + timedelta(seconds=40 * n),
                 ended, 60.0, 20.0, 0.004, 0.0013)
        for n in range(count)
    )  # fmt: skip
    return StepSpent(name, jobs)
