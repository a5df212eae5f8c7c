"""The books: listed = kept + skipped + quarantined, in total, per split and per class, and every id exactly once.

They are counted from the files that are handed on, unit by unit, while the next units are still in work. Then they are
compared with the plan and with what each shard's writer counted; a run whose books do not balance has failed.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ingestion.exploration import Exploration
from ingestion.rows import SKIPPED, Kept, Row, SetAside, read_kept, read_set_aside
from ingestion.run import Expected, IngestError
from ingestion.unit_files import PLAN, REPORT, Finished, mark_path
from stacks.vocabulary import CLASSES

KEPT = "kept"
_EVERY_SECONDS: Final = 0.2


class BooksError(IngestError):
    """The books do not balance; the message names where."""


@dataclass(slots=True)
class RowTally:
    """Numbers of rows: kept, skipped and quarantined, by split and by class."""

    ids: set[str] = field(default_factory=set)
    twice: list[str] = field(default_factory=list)
    per_split: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    per_class: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    shards: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, row: Row) -> None:
        """Count one row."""
        if row.id in self.ids:
            self.twice.append(row.id)
        self.ids.add(row.id)
        fate = KEPT if isinstance(row, Kept) else row.fate
        self.per_split[row.split][fate] += 1
        self.per_class[class_name(row.count)][fate] += 1
        if isinstance(row, SetAside):
            self.reasons[row.fate][row.reason] += 1
        else:
            self.shards[row.shard.rpartition("/")[2]][str(row.count)] += 1

    def of(self, fate: str) -> int:
        """Number of rows with this fate: kept, skipped or quarantined."""
        return sum(split[fate] for split in self.per_split.values())


def class_name(count: int | None) -> str:
    """The line of the books that a count belongs to: `1` to `5`, `other`, or `unknown` when none was read."""
    if count is None:
        return "unknown"
    return str(count) if count in CLASSES else "other"


def check(tally: RowTally, expected: Expected, marks: Iterable[Finished]) -> None:
    """Raise BooksError unless every listed id has exactly one row and the shards hold what their rows name."""
    faults = [f"id {bin_id!r} has two rows" for bin_id in tally.twice[:5]]
    if len(tally.ids) != expected.listed:
        faults.append(f"{expected.listed} ids were listed, {len(tally.ids)} have a row")
    counted = {split: sum(fates.values()) for split, fates in tally.per_split.items()}
    faults += [
        f"split {split}: {expected.per_split.get(split, 0)} ids planned, {counted.get(split, 0)} have a row"
        for split in sorted(set(counted) | set(expected.per_split))
        if counted.get(split, 0) != expected.per_split.get(split, 0)
    ]
    faults += _shard_faults(tally, marks)
    if faults:
        raise BooksError("the books do not balance: " + "; ".join(faults) + ". Remove the output folder and run again")


def _shard_faults(tally: RowTally, marks: Iterable[Finished]) -> list[str]:
    faults: list[str] = []
    unseen = set(tally.shards)
    for mark in marks:
        name = f"{mark.unit}.tar"
        unseen.discard(name)
        rows = tally.shards.get(name, Counter())
        written = {count: number for count, number in mark.per_class.items() if number}
        if dict(rows) != written or (mark.shard.samples if mark.shard else 0) != rows.total():
            faults.append(f"shard {name} holds {written}, its rows say {dict(rows)}")
    return faults + [f"rows name {name}, which no finished unit has written" for name in sorted(unseen)]


def summary(tally: RowTally, marks: Iterable[Finished]) -> dict[str, object]:
    """The books as a document: totals, reasons, and a line per split and per class."""
    shards: dict[str, Counter[str]] = defaultdict(Counter)
    for mark in marks:
        if mark.shard is not None:
            shards[mark.split].update(shards=1, samples=mark.shard.samples, bytes=mark.shard.size)
    return {
        "balanced": True,
        "listed": len(tally.ids),
        "kept": tally.of(KEPT),
        "skipped": dict(tally.reasons[SKIPPED]),
        "quarantined": dict(tally.reasons["quarantined"]),
        "per_split": {split: _line(fates) for split, fates in tally.per_split.items()},
        "per_class": {name: _line(fates) for name, fates in tally.per_class.items()},
        "shards": {split: dict(numbers) for split, numbers in shards.items()},
    }


def _line(fates: Counter[str]) -> dict[str, int]:
    return {"listed": fates.total(), **{fate: fates[fate] for fate in (KEPT, SKIPPED, "quarantined")}}


class Accounts:
    """The books and the exploration of some units, as far as the units are finished.

    Every row counts once, and the sums do not depend on the order in which units finish. The unit `PLAN` has the rows
    that were decided before any photo was read.
    """

    def __init__(self, output: Path, units: Iterable[str], *, seed: int) -> None:
        self.tally = RowTally()
        self.exploration = Exploration(seed)
        self._output = output
        self._awaited = list(units)

    def take_finished(self) -> None:
        """Count the units that have finished since the last call: those whose marks have appeared."""
        for unit in [unit for unit in self._awaited if unit == PLAN or mark_path(self._output, unit).exists()]:
            for row in _rows(self._output / REPORT, unit):
                self.tally.add(row)
                self.exploration.add(row)
            self._awaited.remove(unit)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Count units as they finish while the body runs, and the last ones after it."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.take_finished()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            self.take_finished()


def _rows(report: Path, unit: str) -> Iterator[Row]:
    """Every row of one unit, or of the plan."""
    yield from read_kept(report / f"manifest-{unit}.jsonl")
    yield from read_set_aside(report / f"quarantine-{unit}.jsonl")
    yield from read_set_aside(report / f"skipped-{unit}.jsonl")
