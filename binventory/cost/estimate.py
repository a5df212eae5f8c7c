"""The price of an environment before it exists: a month without use, one execution, a thousand counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from binventory.core.errors import Problem
from binventory.cost.alternatives import Alternative, alternatives, seed_way
from binventory.cost.growth import GrowthLine, growth, stored_gb
from binventory.cost.jobs import Job
from binventory.cost.lines import StepLine, step_line
from binventory.cost.prices import Prices
from binventory.cost.quantities import Quantities
from binventory.cost.serving_advice import ServingAdvice, advise
from binventory.cost.serving_modes import BreakEven, Mode, ServingLine, break_evens, lines, mode, modes
from binventory.cost.workload import DAYS_A_MONTH, HOURS_A_MONTH, Workload

IMAGE_GB = 0.6
Priced = TypeVar("Priced")
LOG_GB_A_MONTH = 1.0
_ALIKE = 1.5
"""Networks count as alike up to this ratio of their multiplications."""


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
    advice: ServingAdvice | None = None  # the cheapest way to serve at this traffic; None without an endpoint
    missing: tuple[str, ...] = ()  # what is configured and has no price here, so that no total holds it

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


class _Pricing:
    """Prices line after line, and keeps the names of lines without a price."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def each(self, wanted: Iterable[tuple[str, Callable[[], Priced]]]) -> tuple[Priced, ...]:
        """Everything that has a price."""
        found = []
        for name, price in wanted:
            try:
                found.append(price())
            except Problem as problem:
                self.missing.append(f"{name}: {problem.what[0].lower()}{problem.what[1:]}")
        return tuple(found)


def estimate(assembly: Quantities, prices: Prices, workload: Workload, traffic: float) -> Estimate:
    """Prices an environment at `traffic` counts a day. Lines without a price are in `missing`, and in no total."""
    priced = _Pricing()

    def steps(jobs: Sequence[Job]) -> tuple[StepLine, ...]:
        return priced.each((job.step, partial(step_line, job, prices, workload)) for job in jobs)

    def months(lines: Iterable[_Monthly]) -> tuple[MonthLine, ...]:
        return priced.each((line.name, line.priced) for line in lines)

    ways = modes(assembly.endpoint, assembly.batch, prices) if assembly.endpoint else ()
    execution = steps(assembly.jobs)
    beside = _Pricing()  # comparisons, without which nothing that is configured lacks its price
    return Estimate(
        environment=assembly.environment,
        region=prices.region,
        workload=workload,
        traffic=traffic,
        idle=months(_idle(assembly, prices, workload)),
        serving_on=months(_serving_on(assembly, prices, ways, traffic)),
        execution=execution,
        again=steps(assembly.again),
        serving=lines(ways, traffic),
        break_evens=break_evens(ways),
        alternatives=_first(beside.each([("", partial(alternatives, assembly.jobs, prices, workload))])),
        seed=_first(beside.each([("", partial(seed_way, prices))])),
        growth=_first(beside.each([("", partial(growth, assembly, prices, workload))])),
        notes=(
            *(line.too_short_note for line in execution if line.too_short),
            *_network_note(workload),
            *_notes(assembly, prices),
        ),
        advice=advise(assembly.endpoint, prices, traffic) if assembly.endpoint else None,
        missing=tuple(dict.fromkeys(priced.missing)),
    )


def _first(found: tuple[tuple[Priced, ...], ...]) -> tuple[Priced, ...]:
    return found[0] if found else ()


@dataclass(frozen=True)
class _Monthly:
    """A line of a month before it is priced."""

    name: str
    quantity: str
    price: Callable[[], float]

    def priced(self) -> MonthLine:
        """Raises Problem where the table lacks a price."""
        return MonthLine(self.name, self.quantity, self.price())


def _idle(assembly: Quantities, prices: Prices, workload: Workload) -> Iterator[_Monthly]:
    stored = stored_gb(workload)
    by_unit = partial(_by_unit, prices)
    yield by_unit("S3, what one execution leaves", f"{stored:.1f} GB", stored, "s3_gb_month")
    yield by_unit("Serving image", f"{IMAGE_GB} GB", IMAGE_GB, "registry_gb_month")
    yield by_unit("Logs, written", f"{LOG_GB_A_MONTH} GB", LOG_GB_A_MONTH, "log_gb_written")
    yield by_unit("Logs, stored", f"{LOG_GB_A_MONTH} GB", LOG_GB_A_MONTH, "log_gb_stored_month")
    for name, number, unit, times in (
        ("VPC endpoints", assembly.interface_endpoints, "interface_endpoint_hour", HOURS_A_MONTH),
        ("NAT gateways", assembly.nat_gateways, "nat_gateway_hour", HOURS_A_MONTH),
        ("Keys", assembly.keys, "kms_key_month", 1),
        ("Alarms", assembly.alarms, "alarm_month", 1),
        ("Metrics", assembly.metrics, "custom_metric_month", 1),
        ("Dashboards", assembly.dashboards, "dashboard_month", 1),
    ):
        if number:
            yield by_unit(name, str(number), number * times, unit)


def _serving_on(assembly: Quantities, prices: Prices, ways: tuple[Mode, ...], traffic: float) -> Iterator[_Monthly]:
    endpoint = assembly.endpoint
    if endpoint is None:
        return
    quantity = f"{endpoint.min_instances} x {endpoint.instance_type}"
    if not endpoint.min_instances:
        quantity = f"{endpoint.mode}, {traffic:,.0f} counts a day"

    def month() -> float:
        way = next((way for way in ways if way.name == endpoint.mode), None) or mode(endpoint, prices)
        return way.day(traffic) * DAYS_A_MONTH

    yield _Monthly("Endpoint", quantity, month)
    for name, number, unit in (
        ("Its alarms", assembly.endpoint_alarms, "alarm_month"),
        ("Its metrics", assembly.endpoint_metrics, "custom_metric_month"),
    ):
        yield _by_unit(prices, name, str(number), number, unit)


def _by_unit(prices: Prices, name: str, quantity: str, number: float, unit: str) -> _Monthly:
    return _Monthly(name, quantity, lambda: number * prices.unit(unit))


def _network_note(workload: Workload) -> tuple[str, ...]:
    if 1 / _ALIKE <= workload.network <= _ALIKE:
        return ()
    return (
        "Counts are priced as those of a ResNet50 at 224 pixels; this network has "
        f"{workload.network:.0%} of its multiplications.",
    )


def _notes(assembly: Quantities, prices: Prices) -> tuple[str, ...]:
    types = {job.instance_type for job in assembly.jobs}
    if assembly.endpoint:
        types.add(assembly.endpoint.instance_type or "serverless_gb_second")
    by_how: dict[str, list[str]] = {}
    for name in sorted(types):
        if how := prices.estimated(name):
            by_how.setdefault(how, []).append(name)
    cure = f"binventory cost --refresh --region {prices.region} reads {{}}."
    return tuple(
        f"The price of {names[0]} is an estimate ({how}): {cure.format('it')}"
        if len(names) == 1
        else f"The prices of {', '.join(names)} are estimates ({how}): {cure.format('them')}"
        for how, names in by_how.items()
    )
