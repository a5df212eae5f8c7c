"""The figures of docs/costs.md: how a month grows, ways to serve, ways to train, as `binventory cost` computes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from binventory.cost import prices, quantities
from binventory.cost.alternatives import ENDPOINT_MONTH
from binventory.cost.amounts import money
from binventory.cost.estimate import Estimate, estimate
from binventory.cost.quantities import Quantities
from binventory.cost.text import EVEN_HEADS, GROWTH_HEADS, even_cells, growth_cells, mode_cells, step_cells
from binventory.cost.workload import Workload
from docs.generate.costs_table import between_marks

PHOTOS = (10_000, 100_000)
TRAFFIC = 10_000


def with_figures(page: str, assembly: Path) -> str:
    """The page with new figures."""
    return between_marks(page, _figures(quantities.read(assembly)))


def _figures(read: Quantities) -> str:
    few, many = (_estimate(read, photos) for photos in PHOTOS)
    known = prices.load(few.region)
    lines = [
        f"Default settings of `{few.environment}`, list prices of {known.read} in {few.region}.",
        "",
        "The cost of a month of executions, and in brackets the size in S3 once as much expires as is added. Time "
        "limits are assumed to be long enough for the work. The endpoint, alarms and dashboard are not included:",
        "",
        *_table(GROWTH_HEADS, map(growth_cells, few.growth)),
        f"Ways to serve, {TRAFFIC:,} counts a day:",
        "",
        *_table(["way", "a thousand counts", "a month", ""], map(mode_cells, few.serving)),
        *_table(EVEN_HEADS, map(even_cells, few.break_evens)),
        "Embed and Train once, in three ways:",
        "",
        *_alternatives(few, many),
        "What the usual notebook project spent on the same work:",
        "",
        *_seed(few),
    ]
    return "\n".join(lines)


def _estimate(read: Quantities, photos: int) -> Estimate:
    return estimate(read, prices.load(read.region), Workload.of(read.parameters, photos, read.input_size), TRAFFIC)


def _alternatives(few: Estimate, many: Estimate) -> list[str]:
    heads = ["", *(f"{found.workload.photos:,} photos" for found in (few, many)), "machines", ""]
    rows = [
        [
            one.way,
            *(f"{money(way.dollars)} in {way.minutes:,.0f} min" for way in (one, other)),
            one.machines,
            one.note,
        ]
        for one, other in zip(few.alternatives, many.alternatives, strict=True)
    ]
    return _table(heads, rows)


def _seed(found: Estimate) -> list[str]:
    rows = []
    for line in found.seed:
        step, machines, runs, minutes, _, dollars, *_ = step_cells(line)
        rows.append([step, machines, runs, "" if step == ENDPOINT_MONTH else minutes, dollars])
    trained = sum(line.expected for line in found.seed if line.step != ENDPOINT_MONTH)
    here = money(found.execution_expected)
    return [
        *_table(["", "machines", "runs", "minutes", "dollars"], rows),
        f"In all {money(trained)} for its tuning and trainings, and an endpoint that is always on. "
        f"One execution here: {here}.",
        "",
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]
