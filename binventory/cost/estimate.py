"""Money from prices and quantities: a month of standing still, one execution, a thousand counts, and the seed's way."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.cost.assembly import Assembly, Endpoint
from binventory.cost.definition import Job
from binventory.cost.machines import machine
from binventory.cost.prices import Prices
from binventory.cost.workload import HOURS_A_MONTH, SERVE_RATE, Workload, seconds

# What managed spot is charged at, as a share of on demand. AWS publishes no list price for it and says "up to 90%
# less"; the true share of a finished job is its BillableTimeInSeconds over its TrainingTimeInSeconds.
SPOT_SHARE = 0.4
SERVERLESS_GB = 4
PHOTO_MB = 0.05
IMAGE_GB = 0.6
SHARD_GB_A_PHOTO = 0.00003
MODEL_GB = 0.2
LOG_GB_A_MONTH = 1.0


@dataclass(frozen=True)
class MonthLine:
    """Something that bills by the month whether it is used or not."""

    name: str
    quantity: str
    dollars: float


@dataclass(frozen=True)
class StepLine:
    """A step of one execution: what is expected, and what its time limit allows at worst."""

    step: str
    machines: str
    runs: str  # how often and how: "5 spot"
    minutes: float  # of one run
    on_demand: float
    expected: float
    worst: float

    @property
    def saved(self) -> float:
        """What spot saves."""
        return self.on_demand - self.expected


@dataclass(frozen=True)
class ServingLine:
    """A way to serve: dollars a thousand counts at the traffic asked for, and a month of it."""

    mode: str
    per_thousand: float
    month: float
    note: str


@dataclass(frozen=True)
class Estimate:
    """The price of one environment before it exists."""

    environment: str
    region: str
    workload: Workload
    traffic: float  # counts a day
    idle: tuple[MonthLine, ...]
    serving_on: tuple[MonthLine, ...]
    execution: tuple[StepLine, ...]
    serving: tuple[ServingLine, ...]
    break_even: float  # counts a day above which the endpoint is cheaper than serverless
    seed: tuple[StepLine, ...]

    @property
    def idle_month(self) -> float:
        """Dollars a month with the endpoint off."""
        return sum(line.dollars for line in self.idle)

    @property
    def serving_month(self) -> float:
        """Dollars a month more with the endpoint on."""
        return sum(line.dollars for line in self.serving_on)

    @property
    def execution_expected(self) -> float:
        """Dollars of one execution."""
        return sum(line.expected for line in self.execution)

    @property
    def execution_worst(self) -> float:
        """Dollars of one execution in which every job runs into its limit, on demand."""
        return sum(line.worst for line in self.execution)


def estimate(assembly: Assembly, prices: Prices, workload: Workload, traffic: float) -> Estimate:
    """Prices an environment at `traffic` counts a day."""
    serving = _serving(assembly.endpoint, prices, traffic) if assembly.endpoint else ()
    return Estimate(
        environment=assembly.environment,
        region=assembly.region,
        workload=workload,
        traffic=traffic,
        idle=_idle(assembly, prices, workload),
        serving_on=_serving_on(assembly, prices),
        execution=tuple(step_line(job, prices, workload) for job in assembly.jobs),
        serving=serving,
        break_even=_break_even(assembly.endpoint, prices) if assembly.endpoint else 0.0,
        seed=seed_way(prices),
    )


def _idle(assembly: Assembly, prices: Prices, workload: Workload) -> tuple[MonthLine, ...]:
    shards = workload.photos * SHARD_GB_A_PHOTO + MODEL_GB
    lines = [
        MonthLine("S3, one execution's shards and models", f"{shards:.1f} GB", shards * prices.unit("s3_gb_month")),
        MonthLine("Serving image", f"{IMAGE_GB} GB", IMAGE_GB * prices.unit("registry_gb_month")),
        MonthLine("Logs", f"{LOG_GB_A_MONTH} GB", LOG_GB_A_MONTH * prices.unit("log_gb_stored_month")),
        MonthLine("Keys", str(assembly.keys), assembly.keys * prices.unit("kms_key_month")),
        MonthLine("Alarms", str(assembly.alarms), assembly.alarms * prices.unit("alarm_month")),
        MonthLine("Dashboards", str(assembly.dashboards), assembly.dashboards * prices.unit("dashboard_month")),
    ]
    return tuple(line for line in lines if line.dollars)


def _serving_on(assembly: Assembly, prices: Prices) -> tuple[MonthLine, ...]:
    endpoint = assembly.endpoint
    if endpoint is None:
        return ()
    month = endpoint.min_instances * prices.instance_hour(endpoint.instance_type) * HOURS_A_MONTH
    alarms = assembly.endpoint_alarms * prices.unit("alarm_month")
    return (
        MonthLine("Endpoint", f"{endpoint.min_instances} x {endpoint.instance_type}", month),
        MonthLine("Its alarms", str(assembly.endpoint_alarms), alarms),
    )


def step_line(job: Job, prices: Prices, workload: Workload) -> StepLine:
    """What one job of an execution is expected to cost, and at most.

    Raises:
        Problem: the table holds no price for its instance type.
    """
    instance = prices.instance_hour(job.instance_type) * job.instance_count
    volume = volume_hour(prices, job.instance_type, job.volume_gb) * job.instance_count
    once = min(seconds(job.step, job.instance_type, job.instance_count, workload), float(job.max_seconds))
    hours = once * job.runs / 3600
    return StepLine(
        step=job.step,
        machines=f"{job.instance_count} x {job.instance_type}",
        runs=f"{job.runs} {'spot' if job.spot else 'on demand'}",
        minutes=once / 60,
        on_demand=(instance + volume) * hours,
        expected=(instance * (SPOT_SHARE if job.spot else 1.0) + volume) * hours,
        worst=(instance + volume) * job.max_seconds * job.runs / 3600,
    )


def volume_hour(prices: Prices, instance_type: str, volume_gb: int) -> float:
    """Dollars an hour of the volume that a job's machine asks for; machines with a disk of their own need none."""
    if machine(instance_type).has_own_disk:
        return 0.0
    return volume_gb * prices.unit("volume_gb_month") / HOURS_A_MONTH


def _serving(endpoint: Endpoint, prices: Prices, traffic: float) -> tuple[ServingLine, ...]:
    counts = traffic * HOURS_A_MONTH / 24
    hour = prices.instance_hour(endpoint.instance_type)
    rate = SERVE_RATE * machine(endpoint.instance_type).vcpus  # counts a second of one instance
    instances = max(endpoint.min_instances, -(-traffic / 86_400 // rate))
    always = instances * hour * HOURS_A_MONTH
    busy = counts / rate / 3600 * hour
    one = serverless_count(prices)
    lines = [
        ("realtime", always, f"{instances:.0f} x {endpoint.instance_type}, always on"),
        ("serverless", counts * one, f"{SERVERLESS_GB} GB, bills only while it counts; no data capture"),
        ("async", busy, "scales to zero; minutes until the first answer"),
        ("batch transform", busy, "a job a day; no endpoint"),
    ]
    return tuple(ServingLine(mode, dollars / counts * 1000, dollars, note) for mode, dollars, note in lines)


def serverless_count(prices: Prices) -> float:
    """Dollars of one count on a serverless endpoint: its memory for the time of one answer, and the photo's bytes."""
    vcpus_of_memory = SERVERLESS_GB / 1.7  # what AWS gives a function of this memory, roughly
    time = 1 / (SERVE_RATE * vcpus_of_memory)
    return time * SERVERLESS_GB * prices.unit("serverless_gb_second") + PHOTO_MB / 1024 * prices.unit(
        "serverless_gb_processed"
    )


def _break_even(endpoint: Endpoint, prices: Prices) -> float:
    day = endpoint.min_instances * prices.instance_hour(endpoint.instance_type) * 24
    return day / serverless_count(prices)


def seed_way(prices: Prices) -> tuple[StepLine, ...]:
    """What the notebook way that this project replaces spent on the same work."""

    def line(step: str, machines: str, runs: str, hourly: float, minutes: float) -> StepLine:
        number, _, how = runs.partition(" ")
        dollars = int(number) * hourly * minutes / 60
        return StepLine(step, machines, runs, minutes, dollars, dollars * (SPOT_SHARE if how == "spot" else 1), dollars)

    return (
        line("Tuning", "1 x ml.m5.2xlarge", "5 on demand", prices.instance_hour("ml.m5.2xlarge"), 7),
        line("Training", "4 x ml.m5.2xlarge", "1 on demand", 4 * prices.instance_hour("ml.m5.2xlarge"), 60),
        line("Training again", "2 x ml.c5.xlarge", "1 on demand", 2 * prices.instance_hour("ml.c5.xlarge"), 60),
        line("Training on EC2", "1 x t3.2xlarge", "1 spot", prices.ec2_hour("t3.2xlarge"), 60),
        line(
            "Endpoint, a month", "1 x ml.m5.large", "1 always", prices.instance_hour("ml.m5.large"), 60 * HOURS_A_MONTH
        ),
    )
