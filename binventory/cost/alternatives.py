"""The same training on SageMaker on demand, managed spot and EC2 spot, beside the notebooks before this project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from binventory.cost.jobs import Job
from binventory.cost.lines import SPOT_SHARE, StepLine, step_line
from binventory.cost.prices import Prices
from binventory.cost.workload import HOURS_A_MONTH, Workload, seconds
from stacks.names import EMBED, TRAIN

EC2_INSTANCE = "m5.2xlarge"
_EC2_OF_NOTEBOOKS = "t3.2xlarge"
EC2_VOLUME_GB = 100
ENDPOINT_MONTH = "Endpoint, a month"
TRAINING_STEPS = (EMBED, TRAIN)


@dataclass(frozen=True)
class Alternative:
    """One way of embedding and training once."""

    way: str
    machines: str
    minutes: float
    dollars: float
    note: str


def alternatives(jobs: Sequence[Job], prices: Prices, workload: Workload) -> tuple[Alternative, ...]:
    """The training in each way; empty where the pipeline has no such steps.

    Raises:
        Problem: the table holds no price for one of the machines.
    """
    training = [job for job in jobs if job.step in TRAINING_STEPS]
    if not training:
        return ()
    lines = [step_line(job, prices, workload) for job in training]
    machines = " and ".join(dict.fromkeys(line.machines for line in lines))
    minutes = sum(line.minutes for line in lines)
    spot = [step_line(job.on_spot(), prices, workload) for job in training]
    hours = sum(seconds(step, EC2_INSTANCE, 1, workload) for step in TRAINING_STEPS) / 3600
    disk = EC2_VOLUME_GB * prices.unit("ebs_gb_month") / HOURS_A_MONTH
    ec2 = prices.ec2_hour(EC2_INSTANCE) * SPOT_SHARE + prices.credits_hour(EC2_INSTANCE)
    return (
        Alternative(
            "SageMaker on demand", machines, minutes, sum(line.on_demand for line in lines), "never waits, never stops"
        ),
        Alternative(
            "SageMaker managed spot",
            machines,
            minutes,
            sum(line.expected for line in spot),
            "may wait or be reclaimed; continues from its checkpoint",
        ),
        Alternative(
            "EC2 spot",
            f"1 x {EC2_INSTANCE}",
            hours * 60,
            hours * (ec2 + disk),
            "the same code on a machine that ends itself; no trials, no metrics",
        ),
    )


def seed_way(prices: Prices) -> tuple[StepLine, ...]:
    """What the notebooks that this project replaces spent on the same work.

    Raises:
        Problem: the table holds no price for one of its machines.
    """

    def line(step: str, machines: str, runs: int, spot: bool, hourly: float, minutes: float) -> StepLine:
        dollars = runs * hourly * minutes / 60
        expected = dollars * (SPOT_SHARE if spot else 1)
        return StepLine(step, machines, runs, spot, minutes, minutes, dollars, expected, dollars)

    large, medium = prices.instance_hour("ml.m5.2xlarge"), prices.instance_hour("ml.c5.xlarge")
    return (
        line("Tuning", "1 x ml.m5.2xlarge", 5, False, large, 7),
        line("Training", "4 x ml.m5.2xlarge", 1, False, 4 * large, 60),
        line("Training again", "2 x ml.c5.xlarge", 1, False, 2 * medium, 60),
        # How busy it was is not known, so CPU credits are left out.
        line("Training on EC2", f"1 x {_EC2_OF_NOTEBOOKS}", 1, True, prices.ec2_hour(_EC2_OF_NOTEBOOKS), 60),
        line(ENDPOINT_MONTH, "1 x ml.m5.large", 1, False, prices.instance_hour("ml.m5.large"), 60 * HOURS_A_MONTH),
    )
