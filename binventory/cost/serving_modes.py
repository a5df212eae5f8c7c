"""What a thousand counts cost in each way to serve, and at which traffic one way overtakes another.

Each way has a fixed price a day and a price a count. Two straight lines cross once: the break-even.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial

from binventory.core.errors import Problem
from binventory.cost.machines import machine
from binventory.cost.prices import Prices
from binventory.cost.quantities import BatchMachines, BilledEndpoint
from binventory.cost.workload import DAYS_A_MONTH, JOB_OVERHEAD_SECONDS, SERVE_RATE

# What serving.serverless.memory_mb is by default, which a change of the mode alone would deploy.
SERVERLESS_GB = 3.0
# What the other ways are compared with where the endpoint itself has no machine.
REFERENCE_INSTANCE = "ml.m5.large"
PHOTO_MB = 0.05
# An asynchronous endpoint that scales to zero is up for a while before its first answer and after its last one.
ASYNC_IDLE_SECONDS = 1200.0
_DAY = 86_400
# Lines that are almost parallel cross at a traffic that does not occur.
_MOST_A_DAY = 1e9


@dataclass(frozen=True)
class Mode:
    """A way to serve: fixed dollars a day, dollars a count, and a note."""

    name: str
    fixed_day: float
    per_count: float
    capacity_day: float  # counts a day up to which the fixed part stays what it is
    note: str

    def day(self, counts: float) -> float:
        """Dollars of a day with so many counts."""
        steps = max(1, math.ceil(counts / self.capacity_day)) if math.isfinite(self.capacity_day) else 1
        return self.fixed_day * steps + self.per_count * counts


@dataclass(frozen=True)
class ServingLine:
    """A way to serve at a given traffic: dollars a thousand counts, and dollars a month."""

    mode: str
    per_thousand: float
    month: float
    note: str


@dataclass(frozen=True)
class BreakEven:
    """The traffic at which two ways cost the same."""

    below: str  # the cheaper one with less traffic
    above: str  # the cheaper one with more
    counts_a_day: float


def modes(endpoint: BilledEndpoint, batch: BatchMachines | None, prices: Prices) -> tuple[Mode, ...]:
    """The ways to serve with this endpoint's machine or memory (and the batch jobs' machines, where they are known).

    A way that has no price in this region is left out.
    """
    found = []
    for make in (_realtime, _serverless, _asynchronous, partial(_batch, batch)):
        try:
            found.append(make(endpoint, prices))
        except Problem:
            continue
    return tuple(found)


def mode(endpoint: BilledEndpoint, prices: Prices) -> Mode:
    """The way in which the endpoint is configured to serve.

    Raises:
        Problem: the table holds no price for it.
    """
    return {"realtime": _realtime, "serverless": _serverless, "async": _asynchronous}[endpoint.mode](endpoint, prices)


def _machines(endpoint: BilledEndpoint, prices: Prices) -> tuple[str, float, float, int]:
    """The endpoint's type, its price an hour, counts a second of one machine, and the fewest machines."""
    name = endpoint.instance_type or REFERENCE_INSTANCE
    return name, prices.instance_hour(name), SERVE_RATE * machine(name).vcpus, max(1, endpoint.min_instances)


def _realtime(endpoint: BilledEndpoint, prices: Prices) -> Mode:
    name, hour, rate, fewest = _machines(endpoint, prices)
    return Mode("realtime", fewest * hour * 24, 0.0, fewest * rate * _DAY, f"{fewest} x {name}, always on")


def _serverless(endpoint: BilledEndpoint, prices: Prices) -> Mode:
    memory = endpoint.memory_gb or SERVERLESS_GB
    note = f"{memory:g} GB, bills only while it counts; no data capture"
    return Mode("serverless", 0.0, serverless_count(prices, memory), math.inf, note)


def _asynchronous(endpoint: BilledEndpoint, prices: Prices) -> Mode:
    name, hour, rate, fewest = _machines(endpoint, prices)
    if endpoint.mode == "async" and endpoint.min_instances > 0:
        return Mode("async", fewest * hour * 24, 0.0, fewest * rate * _DAY, f"{fewest} x {name}, never fewer")
    note = "up once a day, scales to zero; minutes until the first answer"
    return Mode("async", ASYNC_IDLE_SECONDS / 3600 * hour, hour / 3600 / rate, math.inf, note)


def _batch(batch: BatchMachines | None, endpoint: BilledEndpoint, prices: Prices) -> Mode:
    machines = batch or BatchMachines(endpoint.instance_type or REFERENCE_INSTANCE, 1)
    hour = prices.instance_hour(machines.instance_type) * machines.instance_count
    rate = SERVE_RATE * machine(machines.instance_type).vcpus * machines.instance_count
    return Mode(
        "batch transform",
        JOB_OVERHEAD_SECONDS / 3600 * hour,
        hour / 3600 / rate,
        math.inf,
        f"a job a day on {machines.instance_count} x {machines.instance_type}; no endpoint",
    )


def serverless_count(prices: Prices, memory_gb: float = SERVERLESS_GB) -> float:
    """Dollars of one count on a serverless endpoint: its memory for the time of one answer, and the photo's bytes."""
    vcpus_of_memory = memory_gb / 1.7  # what AWS gives a function of this memory, roughly
    time = 1 / (SERVE_RATE * vcpus_of_memory)
    processed = PHOTO_MB / 1024 * prices.unit("serverless_gb_processed")
    return time * memory_gb * prices.unit("serverless_gb_second") + processed


def lines(ways: tuple[Mode, ...], traffic: float) -> tuple[ServingLine, ...]:
    """Each way at `traffic` counts a day."""
    return tuple(
        ServingLine(way.name, way.day(traffic) / traffic * 1000, way.day(traffic) * DAYS_A_MONTH, way.note)
        for way in ways
    )


def break_evens(ways: tuple[Mode, ...]) -> tuple[BreakEven, ...]:
    """Every pair that changes places, within what the machines of each can answer in a day."""
    found = []
    for one, other in itertools.combinations(ways, 2):
        low, high = sorted((one, other), key=lambda way: way.fixed_day)
        if low.per_count <= high.per_count:
            continue  # cheaper at every traffic
        counts = (high.fixed_day - low.fixed_day) / (low.per_count - high.per_count)
        if 0 < counts <= min(low.capacity_day, high.capacity_day, _MOST_A_DAY):
            found.append(BreakEven(low.name, high.name, counts))
    return tuple(sorted(found, key=lambda item: item.counts_a_day))
