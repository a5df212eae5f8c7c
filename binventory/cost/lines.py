"""What one step of an execution is expected to cost, and what its time limit allows at worst."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.cost.jobs import Job
from binventory.cost.machines import machine
from binventory.cost.prices import Prices
from binventory.cost.workload import HOURS_A_MONTH, Workload, seconds

# The only place of this figure; tests/unit/test_spot_share.py holds every page and the local AWS to it.
# What managed spot is charged at, as a share of on demand. AWS publishes no list price for it and says "up to 90%
# less"; EC2 spot of these families stood at 42 to 50% of on demand in September 2026. The true share of a finished job
# is its BillableTimeInSeconds over its TrainingTimeInSeconds.
SPOT_SHARE = 0.5


@dataclass(frozen=True)
class StepLine:
    """A step of one execution: what is expected, and what its time limit allows at worst."""

    step: str
    machines: str
    runs: int
    spot: bool
    minutes: float  # of one run, which ends at its limit at the latest
    needed_minutes: float  # what the work is expected to take
    on_demand: float
    expected: float
    worst: float

    @property
    def too_short(self) -> bool:
        """Whether its limit is expected to stop it before it is done."""
        return self.needed_minutes > self.minutes

    @property
    def too_short_note(self) -> str:
        """What to do about a limit that is too short."""
        return (
            f"{self.step} is expected to need {self.needed_minutes:,.0f} minutes and is stopped after "
            f"{self.minutes:,.0f}: raise its max_runtime_minutes, or give it more or larger machines."
        )

    @property
    def saved(self) -> float:
        """What spot saves."""
        return self.on_demand - self.expected


def step_line(job: Job, prices: Prices, workload: Workload) -> StepLine:
    """What one job of an execution is expected to cost, and at most.

    Raises:
        Problem: the table holds no price for its instance type or its volume.
    """
    instance = prices.instance_hour(job.instance_type) * job.instance_count
    volume = volume_hour(prices, job.instance_type, job.volume_gb) * job.instance_count
    needed = seconds(job.step, job.instance_type, job.instance_count, workload)
    once = min(needed, float(job.max_seconds))
    hours = once * job.runs / 3600
    return StepLine(
        step=job.step,
        machines=f"{job.instance_count} x {job.instance_type}",
        runs=job.runs,
        spot=job.spot,
        minutes=once / 60,
        needed_minutes=needed / 60,
        on_demand=(instance + volume) * hours,
        expected=(instance * (SPOT_SHARE if job.spot else 1.0) + volume) * hours,
        worst=(instance + volume) * job.max_seconds * job.runs / 3600,
    )


def volume_hour(prices: Prices, instance_type: str, volume_gb: int) -> float:
    """Dollars an hour of the volume that a job's machine asks for; instance types with a local disk need none."""
    if machine(instance_type).has_own_disk:
        return 0.0
    return volume_gb * prices.unit("volume_gb_month") / HOURS_A_MONTH
