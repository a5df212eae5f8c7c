"""An estimate as Markdown for pull requests, as plain data, and as the difference between two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from binventory.cost.amounts import difference, money
from binventory.cost.estimate import Estimate
from binventory.cost.growth import EXECUTIONS, GrowthLine
from binventory.cost.lines import StepLine
from binventory.cost.serving_modes import BreakEven, ServingLine


def to_json(found: Estimate) -> dict[str, Any]:
    """Plain data with the totals."""
    totals = {
        "idle_month": found.idle_month,
        "serving_month": found.serving_month,
        "execution_expected": found.execution_expected,
        "execution_on_demand": found.execution_on_demand,
        "execution_worst": found.execution_worst,
    }
    return {**asdict(found), "totals": totals}


def markdown(found: Estimate, before: Estimate | None = None) -> str:
    """The estimate for a pull request; with `before`, also the difference, in total and line by line."""
    text = [f"### Cost of `{found.environment}` in {found.region}", ""]
    text += _markdown_table(["", *heads(before)], [[name, *values] for name, values in rows(found, before)])
    if before is not None:
        text += _folded(
            "What changes", ["", *heads(before)], [[name, *values] for name, values in changes(found, before)]
        )
    text += _folded("One execution, step by step", STEP_HEADS, [step_cells(line) for line in found.execution])
    text += _folded(
        f"{found.traffic:,.0f} counts a day",
        ["", "a thousand", "a month", ""],
        [mode_cells(line) for line in found.serving],
    )
    text += _folded("Break-even points", EVEN_HEADS, [even_cells(even) for even in found.break_evens])
    text += _folded("A month by photos and executions", GROWTH_HEADS, [growth_cells(line) for line in found.growth])
    text += [f"{note}  " for note in notes(found, before)]
    return "\n".join(text) + "\n"


def rows(found: Estimate, before: Estimate | None) -> list[tuple[str, list[str]]]:
    """The totals, one a row: now; or before, now and the difference."""
    names: dict[str, Callable[[Estimate], float]] = {
        "A month with the endpoint off": lambda estimate: estimate.idle_month,
        "A month of the endpoint, more": lambda estimate: estimate.serving_month,
        "One pipeline execution": lambda estimate: estimate.execution_expected,
        "One execution on demand": lambda estimate: estimate.execution_on_demand,
        "One execution at worst": lambda estimate: estimate.execution_worst,
    }
    return [
        (name, [money(read(found))] if before is None else _compared(read(before), read(found)))
        for name, read in names.items()
    ]


def changes(found: Estimate, before: Estimate) -> list[tuple[str, list[str]]]:
    """Every line that a change makes dearer or cheaper, adds or removes."""
    then, now = _lines(before), _lines(found)
    return [
        (name, _compared(then.get(name, 0.0), now.get(name, 0.0)))
        for name in dict.fromkeys((*then, *now))
        if difference(now.get(name, 0.0) - then.get(name, 0.0)) != "none"
    ]


def _lines(found: Estimate) -> dict[str, float]:
    return {
        **{f"{line.name}, a month": line.dollars for line in (*found.idle, *found.serving_on)},
        **{f"{line.step}, an execution": line.expected for line in found.execution},
        **{f"{line.step}, at worst": line.worst for line in found.execution},
        **{f"{line.step} again on demand, at worst": line.worst for line in found.again},
    }


def _compared(then: float, now: float) -> list[str]:
    return [money(then), money(now), difference(now - then)]


def heads(before: Estimate | None) -> list[str]:
    """The columns of `rows`."""
    return ["cost"] if before is None else ["before", "after", "difference"]


STEP_HEADS = ["step", "machines", "runs", "min", "on demand", "expected", "saved", "worst"]


def step_cells(line: StepLine) -> list[str]:
    """One step: what runs, how long, and what it costs."""
    minutes = f"{line.minutes:,.1f}" if line.minutes < 10 else f"{line.minutes:,.0f}"
    runs = f"{line.runs} spot" if line.spot else str(line.runs)
    dollars = [money(amount) for amount in (line.on_demand, line.expected, line.saved, line.worst)]
    return [line.step, line.machines.removeprefix("1 x "), runs, minutes, *dollars]


def mode_cells(line: ServingLine) -> list[str]:
    """One way to serve at the given traffic."""
    return [line.mode, money(line.per_thousand), money(line.month), line.note]


def notes(found: Estimate, before: Estimate | None = None) -> tuple[str, ...]:
    """The notes of an estimate: first what its totals lack, and what those of `before` lack."""
    lacking = _missing(found, "these figures")
    lacking += _missing(before, "the figures before") if before is not None else ()
    lacking += _cheaper(found)
    if not found.again:
        return lacking + found.notes
    steps = ", ".join(line.step for line in found.again)
    more = money(sum(line.worst for line in found.again))
    after = f"After too many reclaims {steps} run on demand: the worst case counts {more} for that."
    return (*lacking, after, *found.notes)


def _cheaper(found: Estimate) -> tuple[str, ...]:
    """The setting that serves for less at this traffic, where there is one."""
    advice = found.advice
    if advice is None or not advice.change:
        return ()
    return (f"{advice.compared[0].upper()}{advice.compared[1:]}. To take it: {advice.cure(found.environment)}.",)


def _missing(found: Estimate, where: str) -> tuple[str, ...]:
    if not found.missing:
        return ()
    return (
        f"Not in {where}: {'; '.join(found.missing)}. Read the prices with credentials for AWS: "
        f"binventory cost --refresh --region {found.region}.",
    )


GROWTH_HEADS = ["photos", *(f"{times} a month" for times in EXECUTIONS)]


def growth_cells(line: GrowthLine) -> list[str]:
    """A month with so many photos, by the number of executions."""
    amounts = zip(line.dollars, line.stored_gb, strict=True)
    return [f"{line.photos:,}", *(f"{money(dollars)} ({gb:,.0f} GB)" for dollars, gb in amounts)]


EVEN_HEADS = ["break-even, counts a day", "cheaper below", "cheaper above"]


def even_cells(even: BreakEven) -> list[str]:
    """Two ways to serve and their break-even."""
    return [f"{even.counts_a_day:,.0f}", even.below, even.above]


def _markdown_table(names: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(names)} |".replace("|  |", "| |"), f"|---|{'---:|' * (len(names) - 1)}"]
    return [*head, *(f"| {' | '.join(row)} |" for row in cells), ""]


def _folded(title: str, names: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    found = list(cells)
    return (
        [f"<details><summary>{title}</summary>", "", *_markdown_table(names, found), "</details>", ""] if found else []
    )
