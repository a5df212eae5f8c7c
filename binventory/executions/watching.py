"""Writes a running pipeline execution into a journal: each step, its time and its progress."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from binventory import executions
from binventory.core.aws import Aws
from binventory.core.journal import Journal, duration
from binventory.core.words import counted
from stacks.names import EMBED, TRAIN

_METRIC = re.compile(r"([\w:]+)=([\w.+-]+)")


@dataclass(frozen=True)
class Transition:
    """A secondary status of a training job, as AWS reports it."""

    status: str
    message: str


class StepWatcher:
    """Writes a pipeline execution into the journal; can interrupt the training job once."""

    def __init__(
        self, aws: Aws, journal: Journal, *, level: int = 0, reclaim: Callable[[str], None] | None = None
    ) -> None:
        self.aws = aws
        self.journal = journal
        self.level = level
        self.reclaim = reclaim  # interrupts the training job of this name, once
        self.trials: tuple[executions.Trial, ...] = ()
        self.tail: tuple[str, ...] = ()
        """The last lines of the job that runs now; read only when `tail_lines` asks for some."""
        self.tail_lines = 0

    def update(self, execution: executions.Execution) -> None:
        """Writes the changes since the last call."""
        for step in execution.steps:
            entry = self.journal.entry(step.name, self.level)
            if entry.state == "waiting":
                self.journal.begin(entry)
            if entry.state != "running":
                continue
            if step.reused is not None:
                self.journal.note(entry, str(step.reused))
                self.journal.end(entry, "reused")
                continue
            self.journal.note(entry, self._note(step))
            if step.status in {"Succeeded", "Failed", "Stopped"}:
                self.journal.end(entry, "done" if step.status == "Succeeded" else "failed")
            elif self.tail_lines:
                self.tail = self._tail(step)

    def transitions(self, execution: executions.Execution) -> tuple[Transition, ...]:
        """The secondary statuses of the training job."""
        train = execution.step(TRAIN)
        if train is None:
            return ()
        job = self.aws.client("sagemaker").describe_training_job(TrainingJobName=train.job)
        return tuple(
            Transition(item["Status"], item.get("StatusMessage", "")) for item in job["SecondaryStatusTransitions"]
        )

    def _tail(self, step: executions.ExecutionStep) -> tuple[str, ...]:
        """The end of the log of a step's job; of the newest trial when the step tunes."""
        if step.kind == "TuningJob":
            job = self.trials[-1].job if self.trials else ""
            lines = executions.job_log(self.aws, "TrainingJob", job) if job else ()
            return tuple(lines[-self.tail_lines :])
        return executions.log_tail(self.aws, step, self.tail_lines) if step.job else ()

    def _note(self, step: executions.ExecutionStep) -> str:
        if step.status == "Failed":
            return step.failure
        if step.kind == "TuningJob":
            return self._tuning(step)
        if step.kind == "TrainingJob":
            return self._training(step)
        return outcome(step)

    def _tuning(self, step: executions.ExecutionStep) -> str:
        self.trials = executions.trials(self.aws, step.job)
        best = executions.best_of(self.trials)
        if best is None:
            return f"{counted(len(self.trials), 'trial')} started"
        done = sum(trial.objective is not None for trial in self.trials)
        chosen = ", ".join(f"{name} {best.tried(name)}" for name in sorted(best.hyperparameters))
        return f"{counted(done, 'trial')}, best validation loss {best.objective:.3f} ({chosen})"

    def _training(self, step: executions.ExecutionStep) -> str:
        lines = executions.job_log(self.aws, "TrainingJob", step.job)
        if step.name == EMBED:
            return next(filter(None, map(embedding_note, reversed(lines))), step.job)
        epochs = [line for line in lines if line.startswith("epoch=")]
        if self.reclaim is not None and step.name == TRAIN and epochs and step.status == "Executing":
            self.reclaim(step.job)
            self.reclaim = None
        kept = [line.removeprefix("best ") for line in lines if line.startswith("best epoch=")]
        if kept and epochs:
            return f"kept {epoch_note(kept[-1])} (last: epoch {_METRIC.findall(epochs[-1])[0][1]})"
        return epoch_note(epochs[-1]) if epochs else step.job


def outcome(step: executions.ExecutionStep) -> str:
    """What a step has come to: what it has listed, how the gate decided, or the name of its job or model package."""
    if step.kind == "Lambda":
        return _listed(step)
    if step.kind == "Condition":
        return {"True": "passed", "False": "refused"}.get(step.detail, step.detail)
    return step.detail if step.kind == "Fail" else step.detail.rpartition(":")[-1].partition("/")[-1]


def _listed(step: executions.ExecutionStep) -> str:
    """What the step Fingerprint has listed; empty until it ends."""
    counts = [(step.outputs.get(name), what) for name, what in (("Photos", "photo"), ("Metadata", "metadata file"))]
    return ", ".join(counted(int(count), what) for count, what in counts if count is not None)


def embedding_note(line: str) -> str:
    """`embedding photos=512 of=2048 rate=210.4 left=7` as `512 of 2,048 photos, 210/s, 7.0 s left`; else empty."""
    if not line.startswith("embedding "):
        return ""
    values = dict(_METRIC.findall(line))
    done, total = int(values["photos"]), int(values["of"])
    rate = f"{float(values['rate']):,.0f}/s"
    if done >= total:
        return f"{counted(total, 'photo')}, {rate}"
    return f"{done:,} of {counted(total, 'photo')}, {rate}, {duration(float(values['left']))} left"


def epoch_note(line: str) -> str:
    """`epoch=3 train:loss=0.51234 ...` as `epoch 3, validation loss 0.512, accuracy 0.400`."""
    values = dict(_METRIC.findall(line))
    parts = [f"epoch {values.get('epoch', '?')}"]
    for name, label in (("validation:loss", "validation loss"), ("validation:accuracy", "accuracy")):
        if name in values:
            parts.append(f"{label} {float(values[name]):.3f}")
    return ", ".join(parts)
