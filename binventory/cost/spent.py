"""What a pipeline execution cost, from SageMaker's description of each job: billed seconds, spot savings.

A finished training job has `BillableTimeInSeconds` (of one instance); the difference to `TrainingTimeInSeconds` is what
spot saved. A processing job is billed for its wall-clock time. A running job is priced on demand until now, so its
figure is an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from binventory import executions
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.cost.amounts import money
from binventory.cost.lines import volume_hour
from binventory.cost.prices import Prices, known

_RUNNING = frozenset({"InProgress", "Stopping"})


@dataclass(frozen=True)
class JobSpent:
    """One job. Seconds count once, however many machines there were; dollars count them all."""

    name: str
    kind: str  # TrainingJob | ProcessingJob
    status: str
    instance_type: str
    instance_count: int
    spot: bool
    started: datetime | None
    ended: datetime | None
    seconds: float
    billable: float
    on_demand: float | None  # dollars for all the seconds; None where the table holds no price
    dollars: float | None  # dollars for the billed ones; an upper bound while it runs

    @property
    def running(self) -> bool:
        """Whether the figures still grow."""
        return self.status in _RUNNING

    @property
    def saved(self) -> float | None:
        """Dollars that spot saved."""
        if self.on_demand is None or self.dollars is None:
            return None
        return self.on_demand - self.dollars


@dataclass(frozen=True)
class StepSpent:
    """One step of an execution; a tuning step has many jobs, a condition none."""

    step: str
    jobs: tuple[JobSpent, ...]

    @property
    def dollars(self) -> float | None:
        """Dollars of its jobs; None when one has no price."""
        return _total(job.dollars for job in self.jobs)

    @property
    def saved(self) -> float | None:
        """Dollars that spot saved on them."""
        return _total(job.saved for job in self.jobs)


@dataclass(frozen=True)
class Spent:
    """The money of one execution so far."""

    execution: str
    region: str
    steps: tuple[StepSpent, ...]

    @property
    def jobs(self) -> tuple[JobSpent, ...]:
        """Every job of every step."""
        return tuple(job for step in self.steps for job in step.jobs)

    @property
    def running(self) -> bool:
        """Whether anything still bills."""
        return any(job.running for job in self.jobs)

    @property
    def dollars(self) -> float | None:
        """Dollars in all; None when a job has no price."""
        return _total(step.dollars for step in self.steps)

    @property
    def saved(self) -> float | None:
        """Dollars that spot saved in all."""
        return _total(step.saved for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """Plain data with the totals."""
        return {
            "execution": self.execution,
            "region": self.region,
            "dollars": self.dollars,
            "saved": self.saved,
            "running": self.running,
            "steps": [
                {"step": step.step, "dollars": step.dollars, "saved": step.saved, "jobs": [vars(j) for j in step.jobs]}
                for step in self.steps
            ],
        }


class Meter:
    """Reads what executions cost. Ended jobs are read once, so it can be called again and again.

    Args:
        aws: the account whose jobs are priced, at the prices of its region.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._prices = known(aws.region)
        self._ended: dict[str, JobSpent] = {}

    def read(self, execution: executions.Execution) -> Spent:
        """The money of an execution until now."""
        steps = tuple(StepSpent(step.name, tuple(self._jobs(step))) for step in execution.steps)
        return Spent(execution.arn, self._aws.region, tuple(step for step in steps if step.jobs))

    def _jobs(self, step: executions.ExecutionStep) -> Iterable[JobSpent]:
        if step.reused is not None:
            return  # the execution that ran it paid for it
        if step.kind == "TuningJob" and step.job:
            for trial in executions.trials(self._aws, step.job):
                yield self._job("TrainingJob", trial.job)
        elif step.kind in {"TrainingJob", "ProcessingJob"} and step.job:
            yield self._job(step.kind, step.job)

    def _job(self, kind: str, name: str) -> JobSpent:
        if name in self._ended:
            return self._ended[name]
        sagemaker = self._aws.client("sagemaker")
        now = datetime.now(UTC)
        if kind == "TrainingJob":
            found = training_job(sagemaker.describe_training_job(TrainingJobName=name), self._prices, now)
        else:
            found = processing_job(sagemaker.describe_processing_job(ProcessingJobName=name), self._prices, now)
        if not found.running:
            self._ended[name] = found
        return found


def training_job(described: dict[str, Any], prices: Prices | None, now: datetime) -> JobSpent:
    """The money of a training job, from its description."""
    started, ended = described.get("TrainingStartTime"), described.get("TrainingEndTime")
    # AWS writes the times a job is billed for when it has ended; until then the clock bounds them.
    seconds = float(described.get("TrainingTimeInSeconds", _between(started, ended or now)))
    resources = described["ResourceConfig"]
    return _priced(
        JobSpent(
            name=described["TrainingJobName"],
            kind="TrainingJob",
            status=described["TrainingJobStatus"],
            instance_type=resources["InstanceType"],
            instance_count=int(resources["InstanceCount"]),
            spot=bool(described.get("EnableManagedSpotTraining", False)),
            started=started,
            ended=ended,
            seconds=seconds,
            billable=float(described.get("BillableTimeInSeconds", seconds)),
            on_demand=None,
            dollars=None,
        ),
        int(resources["VolumeSizeInGB"]),
        prices,
    )


def processing_job(described: dict[str, Any], prices: Prices | None, now: datetime) -> JobSpent:
    """The money of a processing job, from its description."""
    started, ended = described.get("ProcessingStartTime"), described.get("ProcessingEndTime")
    seconds = _between(started, ended or now)
    cluster = described["ProcessingResources"]["ClusterConfig"]
    return _priced(
        JobSpent(
            name=described["ProcessingJobName"],
            kind="ProcessingJob",
            status=described["ProcessingJobStatus"],
            instance_type=cluster["InstanceType"],
            instance_count=int(cluster["InstanceCount"]),
            spot=False,
            started=started,
            ended=ended,
            seconds=seconds,
            billable=seconds,
            on_demand=None,
            dollars=None,
        ),
        int(cluster["VolumeSizeInGB"]),
        prices,
    )


def _priced(job: JobSpent, volume_gb: int, prices: Prices | None) -> JobSpent:
    if prices is None:
        return job
    try:
        hour = prices.instance_hour(job.instance_type) + volume_hour(prices, job.instance_type, volume_gb)
    except Problem:
        return job
    hour *= job.instance_count
    # Spot lowers the billed seconds, never what is paid for one of them.
    return JobSpent(
        **{**vars(job), "on_demand": hour * job.seconds / 3600, "dollars": hour * min(job.billable, job.seconds) / 3600}
    )


def _between(start: datetime | None, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds()) if start is not None else 0.0


def _total(amounts: Iterable[float | None]) -> float | None:
    total = 0.0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def so_far(spent: Spent) -> str:
    """One line: `at most $0.42 so far, spot saved $0.63`."""
    if spent.dollars is None or spent.saved is None:
        return f"no price for every instance type in {spent.region}: binventory cost --refresh --region {spent.region}"
    amount = f"at most {money(spent.dollars)} so far" if spent.running else money(spent.dollars)
    return f"{amount}, spot saved {money(spent.saved)}" if spent.saved >= 0.00005 else amount
