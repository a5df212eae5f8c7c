"""How the stored training job changes while it runs: statuses, transitions, times, events."""

from __future__ import annotations

from collections.abc import Callable

from local_aws.core.context import Context
from local_aws.core.wire import Document

FAMILY = "TrainingJob"

_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Interrupted": "The job stopped because the managed spot training instances were interrupted",
    "Restarting": "Restarting the training job",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
_FINAL = {
    "Completed": "Completed",
    "Failed": "Failed",
    "Stopped": "Stopped",
    "MaxRuntimeExceeded": "Stopped",
    "MaxWaitTimeExceeded": "Stopped",
}


def add_transition(job: Document, secondary: str, now: float, message: str | None = None) -> None:
    """Move a training job's document to a secondary status, and to the main status that goes with it."""
    transitions = job.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1].setdefault("EndTime", now)
    transition = {"Status": secondary, "StartTime": now, "StatusMessage": message or _MESSAGES[secondary]}
    job["SecondaryStatus"] = secondary
    job["LastModifiedTime"] = now
    if secondary == "Stopping":
        job["TrainingJobStatus"] = "Stopping"
    if secondary in _FINAL:
        job["TrainingJobStatus"] = _FINAL[secondary]
        job["TrainingEndTime"] = now
        transition["EndTime"] = now
    transitions.append(transition)


class TrainingRecord:
    """One stored training job. Every change is saved at once and announced on the event bus."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._table = context.table(FAMILY)
        self.name = name

    def read(self) -> Document:
        """The job as stored now."""
        job = self._table.get(self.name)
        if job is None:
            raise KeyError(f"training job {self.name} is gone from the store")
        return job

    def change(self, change: Callable[[Document], None]) -> Document:
        """Alter the stored job."""
        job = self._table.update(self.name, change)
        if job is None:
            raise KeyError(f"training job {self.name} is gone from the store")
        return job

    def move(self, secondary: str, *, message: str | None = None, **members: object) -> None:
        """Go to a secondary status, setting other members along with it."""

        def change(job: Document) -> None:
            job.update({name: value for name, value in members.items() if value is not None})
            add_transition(job, secondary, self._context.now(), message)

        self.announce(self.change(change))

    def begin_stopping(self) -> bool:
        """Go to `Stopping`, unless the job has ended or is being stopped already; whether it did."""
        moved: list[bool] = []

        def change(job: Document) -> None:
            if job["TrainingJobStatus"] == "InProgress":
                add_transition(job, "Stopping", self._context.now())
                moved.append(True)

        job = self.change(change)
        if moved:
            self.announce(job)
        return bool(moved)

    def announce(self, job: Document) -> None:
        """Send the event that AWS sends when a training job's state changes."""
        detail = {key: value for key, value in job.items() if not key.startswith("_")}
        for transition in ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime"):
            if transition in detail:
                detail[transition] = int(detail[transition] * 1000)
        self._context.emit_event("SageMaker Training Job State Change", detail, [job["TrainingJobArn"]])
