"""The bill of one execution: the cost of each step, what spot saved, use of machines, sizes that would be enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from binventory.assembly.definitions import Definition, instance_parameters
from binventory.cost.amounts import money_or_unknown, percent
from binventory.cost.prices import Prices
from binventory.cost.sizing import Advice, advise
from binventory.cost.spent import Spent, StepSpent
from binventory.cost.usage import Level, Usage, together


@dataclass(frozen=True)
class StepReport:
    """One step of an execution after it has ended."""

    step: str
    jobs: int
    machines: str  # "1 x ml.m5.xlarge, spot"
    seconds: float  # of all jobs together, on one machine each
    billable: float
    on_demand: float | None
    dollars: float | None
    used: Usage | None  # None where the metrics were not read
    advice: Advice | None
    knob: str  # the pipeline parameter that sets the instance type; "" where none does

    @property
    def saved(self) -> float | None:
        """Dollars that spot saved."""
        return None if self.on_demand is None or self.dollars is None else self.on_demand - self.dollars


@dataclass(frozen=True)
class SpendingReport:
    """The bill of one execution."""

    execution: str
    region: str
    prices_read: str
    steps: tuple[StepReport, ...]
    dollars: float | None
    saved: float | None
    notes: tuple[str, ...]
    take: dict[str, str]  # pipeline parameters and the instance types that would be enough

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def make(
    spent: Spent,
    used: Mapping[str, Usage] | None,
    definition: Definition,
    prices: Prices,
    notes: tuple[str, ...] = (),
) -> SpendingReport:
    """Combines costs, use (None: the metrics may not be read) and the instance types to choose from."""
    knobs = instance_parameters(definition)
    steps = tuple(_step(step, used, *knobs.get(step.step, ("", ())), prices) for step in spent.steps)
    read = f"{prices.read} ({prices.source})"
    take = _take(steps, prices)
    return SpendingReport(spent.execution, spent.region, read, steps, spent.dollars, spent.saved, notes, take)


def _take(steps: Sequence[StepReport], prices: Prices) -> dict[str, str]:
    """By parameter the type that holds all of its steps: the dearest of those advised, if each was advised one."""
    found = {}
    for knob in dict.fromkeys(step.knob for step in steps if step.knob):
        better = [step.advice.better if step.advice else "" for step in steps if step.knob == knob]
        if all(better):
            found[knob] = max(better, key=prices.instance_hour)
    return found


def _step(
    step: StepSpent, used: Mapping[str, Usage] | None, knob: str, allowed: Sequence[str], prices: Prices
) -> StepReport:
    first = step.jobs[0]
    usage = together(used[job.name] for job in step.jobs if job.name in used) if used is not None else None
    types = allowed or tuple(sorted({job.instance_type for job in step.jobs}))
    on_demand = [job.on_demand for job in step.jobs]
    return StepReport(
        step=step.step,
        jobs=len(step.jobs),
        machines=f"{first.instance_count} x {first.instance_type}{', spot' if first.spot else ''}",
        seconds=sum(job.seconds for job in step.jobs),
        billable=sum(job.billable for job in step.jobs),
        on_demand=None if None in on_demand else sum(dollars for dollars in on_demand if dollars is not None),
        dollars=step.dollars,
        used=usage,
        advice=advise(first.instance_type, usage, types, prices) if usage is not None else None,
        knob=knob,
    )


def markdown(report: SpendingReport) -> str:
    """The bill for a workflow's summary."""
    lines = [
        f"### Cost of execution `{report.execution.rsplit('/', 1)[-1]}`: {money_or_unknown(report.dollars)}",
        "",
        "| step | machines | jobs | billed | cost | saved by spot | CPU | memory | disk | GPU | size |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for step in report.steps:
        cells = [step.step, step.machines, str(step.jobs), f"{step.billable:,.0f} s", *cost_cells(step)]
        cells += [*usage_cells(step), step.advice.text if step.advice else ""]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"{note}  " for note in (f"Prices of {report.prices_read}.", *report.notes))]
    return "\n".join(lines) + "\n"


def cost_cells(step: StepReport) -> list[str]:
    """What a step cost and what spot saved on it."""
    return [money_or_unknown(step.dollars), money_or_unknown(step.saved)]


def usage_cells(step: StepReport) -> list[str]:
    """The mean use of processor, memory, disk and GPU."""
    used = step.used
    return [_level(level) for level in (used.cpu, used.memory, used.disk, used.gpu)] if used else ["", "", "", ""]


def _level(level: Level | None) -> str:
    return "" if level is None else percent(level.average)
