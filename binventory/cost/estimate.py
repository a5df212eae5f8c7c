"""The price of an environment before it exists: a month without use, one execution, a thousand counts."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.cost.alternatives import Alternative, alternatives, seed_way
from binventory.cost.growth import GrowthLine, growth, stored_gb
from binventory.cost.lines import StepLine, step_line
from binventory.cost.prices import Prices
from binventory.cost.quantities import Quantities
from binventory.cost.serving_modes import BreakEven, Mode, ServingLine, break_evens, lines, modes
from binventory.cost.workload import DAYS_A_MONTH, HOURS_A_MONTH, Workload

IMAGE_GB = 0.6
LOG_GB_A_MONTH = 1.0


@dataclass(frozen=True)
class MonthLine:
    """A resource that bills by the month, used or not."""

    name: str
    quantity: str
    dollars: float


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
    again: tuple[StepLine, ...]
    serving: tuple[ServingLine, ...]
    break_evens: tuple[BreakEven, ...]
    alternatives: tuple[Alternative, ...]
    seed: tuple[StepLine, ...]
    growth: tuple[GrowthLine, ...]
    notes: tuple[str, ...]  # time limits that are too short, prices that are estimates

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
    def execution_on_demand(self) -> float:
        """Dollars of one execution without spot."""
        return sum(line.on_demand for line in self.execution)

    @property
    def execution_worst(self) -> float:
        """Dollars when every job runs into its limit, on demand, and once more after reclaims where settings say so."""
        return sum(line.worst for line in (*self.execution, *self.again))


def estimate(assembly: Quantities, prices: Prices, workload: Workload, traffic: float) -> Estimate:
    """Prices an environment at `traffic` counts a day.

    Raises:
        Problem: the table does not hold a price that is needed.
    """
    ways = modes(assembly.endpoint, assembly.batch, prices) if assembly.endpoint else ()
    execution = tuple(step_line(job, prices, workload) for job in assembly.jobs)
    return Estimate(
        environment=assembly.environment,
        region=prices.region,
        workload=workload,
        traffic=traffic,
        idle=_idle(assembly, prices, workload),
        serving_on=_serving_on(assembly, prices, ways, traffic),
        execution=execution,
        again=tuple(step_line(job, prices, workload) for job in assembly.again),
        serving=lines(ways, traffic),
        break_evens=break_evens(ways),
        alternatives=alternatives(assembly.jobs, prices, workload),
        seed=seed_way(prices),
        growth=growth(assembly, prices, workload),
        notes=(*(line.too_short_note for line in execution if line.too_short), *_notes(assembly, prices)),
    )


def _idle(assembly: Quantities, prices: Prices, workload: Workload) -> tuple[MonthLine, ...]:
    stored = stored_gb(workload)
    network = [
        ("VPC endpoints", assembly.interface_endpoints, "interface_endpoint_hour", HOURS_A_MONTH),
        ("NAT gateways", assembly.nat_gateways, "nat_gateway_hour", HOURS_A_MONTH),
        ("Keys", assembly.keys, "kms_key_month", 1),
        ("Alarms", assembly.alarms, "alarm_month", 1),
        ("Metrics", assembly.metrics, "custom_metric_month", 1),
        ("Dashboards", assembly.dashboards, "dashboard_month", 1),
    ]
    return (
        MonthLine("S3, what one execution leaves", f"{stored:.1f} GB", stored * prices.unit("s3_gb_month")),
        MonthLine("Serving image", f"{IMAGE_GB} GB", IMAGE_GB * prices.unit("registry_gb_month")),
        MonthLine("Logs", f"{LOG_GB_A_MONTH} GB", LOG_GB_A_MONTH * prices.unit("log_gb_stored_month")),
        *(
            MonthLine(name, str(number), number * prices.unit(unit) * times)
            for name, number, unit, times in network
            if number
        ),
    )


def _serving_on(assembly: Quantities, prices: Prices, ways: tuple[Mode, ...], traffic: float) -> tuple[MonthLine, ...]:
    endpoint = assembly.endpoint
    if endpoint is None:
        return ()
    way = next(way for way in ways if way.name == endpoint.mode)
    quantity = f"{endpoint.min_instances} x {endpoint.instance_type}"
    if not endpoint.min_instances:
        quantity = f"{endpoint.mode}, {traffic:,.0f} counts a day"
    return (
        MonthLine("Endpoint", quantity, way.day(traffic) * DAYS_A_MONTH),
        MonthLine("Its alarms", str(assembly.endpoint_alarms), assembly.endpoint_alarms * prices.unit("alarm_month")),
        MonthLine(
            "Its metrics",
            str(assembly.endpoint_metrics),
            assembly.endpoint_metrics * prices.unit("custom_metric_month"),
        ),
    )


def _notes(assembly: Quantities, prices: Prices) -> tuple[str, ...]:
    types = {job.instance_type for job in assembly.jobs}
    if assembly.endpoint:
        types.add(assembly.endpoint.instance_type)
    return tuple(
        f"The price of {name} is an estimate ({how}): binventory cost --refresh reads it."
        for name in sorted(types)
        if (how := prices.estimated(name))
    )
