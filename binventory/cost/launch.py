"""The launch screen: what a training or the endpoint will cost, read from the account, before it is started.

What will run is read from the deployed pipeline's definition, with this start's parameters, and from the deployed
serving stack's template. A price that the table lacks is shown as unknown; it does not prevent the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from binventory.assembly.definitions import Definition, defaults_of
from binventory.assembly.templates import Json
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.core.known_photos import UNKNOWN_PHOTOS, KnownPhotos
from binventory.core.names import Names
from binventory.core.words import counted
from binventory.cost.amounts import money
from binventory.cost.jobs import Job, input_size_of, jobs_of
from binventory.cost.lines import StepLine, step_line
from binventory.cost.prices import Prices, load
from binventory.cost.quantities import BilledEndpoint, endpoint_of
from binventory.cost.serving_modes import serverless_count
from binventory.cost.workload import HOURS_A_MONTH, Workload, expected_for

LOCAL_NOTE = "This is the local AWS: nothing is billed. The prices are AWS list prices."


@dataclass(frozen=True)
class Charge:
    """One line of a launch screen. Dollars are None where the table holds no price."""

    name: str
    choice: str  # what runs: "1 x ml.m5.xlarge, spot"
    limit: str  # what bounds it: "5 x 60 min"
    expected: float | None
    worst: float | None


@dataclass(frozen=True)
class Launch:
    """What is about to start, what it costs, and useful next commands."""

    title: str
    period: str  # what the dollars are for: "once" or "a month"
    charges: tuple[Charge, ...]
    notes: tuple[str, ...] = ()
    next_commands: tuple[tuple[str, str], ...] = ()

    @property
    def expected(self) -> float | None:
        """Dollars expected in all; None when one of them is unknown."""
        return _sum(charge.expected for charge in self.charges)

    @property
    def worst(self) -> float | None:
        """Dollars when everything runs into its limit, on demand; None when one of them is unknown."""
        return _sum(charge.worst for charge in self.charges)

    def to_json(self) -> dict[str, Any]:
        """Plain data with the totals."""
        return {
            "title": self.title,
            "period": self.period,
            "charges": [vars(charge) for charge in self.charges],
            "expected": self.expected,
            "worst": self.worst,
            "notes": list(self.notes),
        }


def _sum(amounts: Any) -> float | None:
    known = list(amounts)
    return None if None in known else float(sum(known))


def of_execution(
    definition: Definition,
    parameters: Mapping[str, str | int | float],
    *,
    names: Names,
    aws: Aws,
    again: Definition | None = None,
    photos: KnownPhotos = UNKNOWN_PHOTOS,
    notes: tuple[str, ...] = (),
) -> Launch:
    """The launch screen of an execution of this pipeline definition, started with these parameters.

    `again` is the definition that continues on demand after too many reclaims; it counts in the worst case. `photos` is
    what is known of their number; `notes` are shown as they are.
    """
    values = {**defaults_of(definition), **parameters}
    workload, expected = expected_for(values, photos, input_size_of(definition))
    prices, complaints = _prices(aws.region)
    lines = [_charge(job, prices, workload) for job in jobs_of(definition, parameters)]
    charges = [charge for charge, _ in lines]
    more = [_charge(job, prices, workload)[0] for job in (jobs_of(again, values) if again else ())]
    if more:
        steps = ", ".join(line.name for line in more)
        charges.append(Charge("Again", f"{steps}, on demand", "after reclaims", 0.0, _sum(line.worst for line in more)))
    said = (
        f"{expected}; at worst every job runs into its limit, on demand.",
        *notes,
        *((LOCAL_NOTE,) if aws.is_local else ()),
        *complaints,
        *(note for _, of_job in lines for note in of_job),
    )
    return Launch(
        f"One execution of the pipeline {names.prefix}",
        "once",
        tuple(charges),
        tuple(dict.fromkeys(said)),
        (
            ("how it stands, and its money so far", names.command("watch")),
            ("what it has cost, and which sizes would do", names.command("spent")),
        ),
    )


def of_endpoint(template: Json, title: str, *, names: Names, aws: Aws) -> Launch:
    """The launch screen of the serving stack's endpoint, which bills from now until it is turned off."""
    prices, complaints = _prices(aws.region)
    endpoint = endpoint_of([template])
    charges: tuple[Charge, ...] = ()
    notes: tuple[str, ...] = ()
    if endpoint is not None:
        charge, notes = _serving(endpoint, prices)
        charges = (charge,)
    notes += (LOCAL_NOTE,) if aws.is_local else ()
    return Launch(
        title,
        "a month",
        charges,
        (*notes, *complaints),
        (
            ("count a photo", names.command("count PHOTO")),
            ("whether it bills", names.command("endpoint status")),
            ("end its bill", names.command("endpoint off")),
        ),
    )


def _charge(job: Job, prices: Prices | None, workload: Workload) -> tuple[Charge, tuple[str, ...]]:
    """One line and its notes; a price that is missing shows as unknown."""
    line: StepLine | None = None
    said: tuple[str, ...] = ()
    if prices is not None:
        try:
            line = step_line(job, prices, workload)
        except Problem as problem:
            said = (_unpriced(problem),)
        else:
            how = prices.estimated(job.instance_type)
            said = (f"The price of {job.instance_type} is an estimate: {how}.",) if how else ()
            said += (line.too_short_note,) if line.too_short else ()
    limit = f"{job.max_seconds / 60:.0f} min"
    charge = Charge(
        name=job.step,
        choice=f"{job.instance_count} x {job.instance_type}, {'spot' if job.spot else 'on demand'}",
        limit=f"{job.runs} x {limit}" if job.runs > 1 else limit,
        expected=line.expected if line else None,
        worst=line.worst if line else None,
    )
    return charge, said


def _serving(endpoint: BilledEndpoint, prices: Prices | None) -> tuple[Charge, tuple[str, ...]]:
    """The endpoint's line and its notes; a price that is missing shows as unknown."""
    serverless = endpoint.mode == "serverless"
    how = {"realtime": "always on", "async": "answers to S3"}.get(endpoint.mode, "")
    choice = f"{endpoint.min_instances} x {endpoint.instance_type}, {how}"
    limit = counted(endpoint.max_instances, "instance")
    if serverless:
        choice, limit = f"serverless, {endpoint.memory_gb:g} GB", f"{endpoint.concurrency} at once"
    expected = worst = None
    said: tuple[str, ...] = ()
    if prices is not None:
        try:
            expected, worst, note = (_serverless if serverless else _machines)(endpoint, prices)
            priced_as = "serverless_gb_second" if serverless else endpoint.instance_type
            how = prices.estimated(priced_as)
            said = (note, *((f"The price of {priced_as} is an estimate: {how}.",) if how else ()))
        except Problem as problem:
            said = (_unpriced(problem),)
    return Charge("Endpoint", choice, limit, expected, worst), said


def _machines(endpoint: BilledEndpoint, prices: Prices) -> tuple[float, float, str]:
    """A month at the fewest and at the most machines."""
    hour = prices.instance_hour(endpoint.instance_type)
    note = f"It bills ${endpoint.min_instances * hour:.3f} an hour from now on, until it is turned off."
    if not endpoint.min_instances:
        note = f"It bills ${hour:.3f} an hour for each machine that requests start, and nothing without requests."
    return endpoint.min_instances * hour * HOURS_A_MONTH, endpoint.max_instances * hour * HOURS_A_MONTH, note


def _serverless(endpoint: BilledEndpoint, prices: Prices) -> tuple[float, float, str]:
    """A month without requests, and one in which as many as it lets in run all the time."""
    second = endpoint.memory_gb * prices.unit("serverless_gb_second")
    a_thousand = money(1000 * serverless_count(prices, endpoint.memory_gb))
    note = f"It bills by the count, about {a_thousand} a thousand, and nothing without requests."
    return 0.0, endpoint.concurrency * second * 3600 * HOURS_A_MONTH, note


def _unpriced(problem: Problem) -> str:
    return f"{problem.what}: {problem.cure}."


def _prices(region: str) -> tuple[Prices | None, tuple[str, ...]]:
    """The region's prices, and warnings about them."""
    try:
        prices = load(region)
    except Problem as problem:
        return None, (_unpriced(problem),)
    warning = prices.warning(date.today())
    return prices, ((warning,) if warning else ())
