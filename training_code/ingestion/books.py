"""The books: listed = kept + skipped + quarantined, in total, per split and per class, and every id exactly once.

They are counted from the files that will be handed on, and held against the plan and against what each shard's writer
counted; a run whose books do not balance has failed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingestion.labels import CLASSES
from ingestion.ledger import SKIPPED, Kept, Row, SetAside
from ingestion.unit_files import Finished

KEPT = "kept"


class BooksError(RuntimeError):
    """The books do not balance; the message says where."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plan announced: how many ids, and how many in each split (`none` where a block has none)."""

    listed: int
    per_split: Mapping[str, int]


@dataclass(slots=True)
class Tally:
    """Counts of rows by what became of them."""

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
        """All rows with this fate."""
        return sum(split[fate] for split in self.per_split.values())


def class_name(count: int | None) -> str:
    """The line of the books a count belongs to: `1` to `5`, `other`, or `unknown` when none was read."""
    if count is None:
        return "unknown"
    return str(count) if count in CLASSES else "other"


def check(tally: Tally, expected: Expected, marks: Iterable[Finished]) -> None:
    """Raise BooksError unless everything listed is accounted for once, and the shards hold what the rows say."""
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


def _shard_faults(tally: Tally, marks: Iterable[Finished]) -> list[str]:
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


def summary(tally: Tally, marks: Iterable[Finished]) -> dict[str, object]:
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
