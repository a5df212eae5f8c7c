"""How stored jobs change while they run: statuses, the transitions of training jobs, and events."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.core.record import Record

TRAINING = "TrainingJob"
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


class JobRecord(Record):
    """One stored training, processing or transform job.

    Args:
        context: the local AWS.
        family: for example `ProcessingJob`.
        name: the job.
        hidden: members that no event shows.
    """

    def __init__(self, context: Context, family: str, name: str, hidden: frozenset[str] = frozenset()) -> None:
        super().__init__(context, family, name)
        self._hidden = hidden

    def announce(self, document: Document, previous: str | None) -> None:
        """Send "SageMaker ... Job State Change"."""
        detail = {
            key: int(value * 1000) if key.endswith("Time") else value
            for key, value in document.items()
            if key not in self._hidden
        }
        noun = self._family.removesuffix("Job")
        self._context.emit_event(f"SageMaker {noun} Job State Change", detail, [document[f"{self._family}Arn"]])


class TrainingRecord(JobRecord):
    """One stored training job, which also has a secondary status and a history of it."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, TRAINING, name)

    def move(
        self, secondary: str, *, message: str | None = None, only_from: str | None = None, **members: object
    ) -> bool:
        """Change to a secondary status and set other members with it; returns whether the job was changed."""
        now = self._context.now()
        return self.change(
            lambda job: add_transition(job, secondary, now, message=message), only_from=only_from, **members
        )


def add_transition(job: Document, secondary: str, now: float, *, message: str | None = None) -> None:
    """Give a training job's document a secondary status, and the main status that belongs to it."""
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
