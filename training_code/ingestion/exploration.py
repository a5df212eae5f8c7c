"""Statistics of the data set, counted in one pass over the rows that ingest wrote.

Memory: one counter entry for each distinct SKU (459,476 in the whole data set, about 60 MB), and sixteen bytes a photo
to find repeated content.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ingestion.rows import QUARANTINED, Kept, Row, SetAside
from ingestion.split import draw
from stacks.vocabulary import CLASSES, SPLITS

# Published by Amazon and in papers about the whole data set.
PUBLISHED: Final = {"photos": 535_234, "mean_quantity": 5.1, "skus": 459_476}
SAMPLES_PER_CLASS: Final = 12
_EXAMPLES: Final = 5
_TOP_SKUS: Final = 10
_SIDE_STEP: Final = 100
_KILOBYTES_STEP: Final = 20


@dataclass(slots=True)
class Exploration:
    """Counters to which rows are added one by one."""

    seed: int
    classes: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    quantities: Counter[int] = field(default_factory=Counter)
    skus: Counter[str] = field(default_factory=Counter)
    bins_with_items: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    kilobytes: Counter[int] = field(default_factory=Counter)
    contents: bytearray = field(default_factory=bytearray)
    """The MD5 of each kept photo's content, one after the other."""
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _grid: dict[int, list[tuple[int, str, Kept]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: Row) -> None:
        """Count one row."""
        if row.count is not None:
            self.quantities[row.count] += 1
        if row.items:
            self.bins_with_items += 1
            self.skus.update(row.items)
        if isinstance(row, Kept):
            self._add_kept(row)
        else:
            self._add_set_aside(row)

    def samples(self) -> dict[int, list[Kept]]:
        """Up to SAMPLES_PER_CLASS rows of each class, drawn by the seed."""
        return {count: [entry[2] for entry in sorted(self._grid[count], reverse=True)] for count in CLASSES}

    def _add_kept(self, row: Kept) -> None:
        self.classes[row.split][row.count] += 1
        source = row.source
        self.formats[source.format] += 1
        self.modes[source.mode] += 1
        self.widths[source.width // _SIDE_STEP * _SIDE_STEP] += 1
        self.heights[source.height // _SIDE_STEP * _SIDE_STEP] += 1
        self.kilobytes[source.bytes // 1000 // _KILOBYTES_STEP * _KILOBYTES_STEP] += 1
        self.contents += bytes.fromhex(source.md5)
        # A heap of the smallest draws: its root is the largest of them and gives way first.
        entry = (-draw(self.seed, "grid", row.id), row.id, row)
        grid = self._grid[row.count]
        if len(grid) < SAMPLES_PER_CLASS:
            heapq.heappush(grid, entry)
        else:
            heapq.heappushpop(grid, entry)

    def _add_set_aside(self, row: SetAside) -> None:
        self.reasons[row.fate][row.reason] += 1
        if row.fate == QUARANTINED:
            examples = self.examples[row.reason]
            insort(examples, f"{row.id}: {row.detail}")
            del examples[_EXAMPLES:]


def to_document(exploration: Exploration) -> dict[str, object]:
    """The exploration as a JSON document. `exploration.html` shows the same numbers."""
    totals = Counter({count: sum(exploration.classes[split][count] for split in SPLITS) for count in CLASSES})
    filled = [number for number in totals.values() if number]
    quantities = exploration.quantities
    known = quantities.total()
    repeats = Counter(exploration.skus.values())
    return {
        "published": PUBLISHED,
        "photos": {"kept": totals.total(), "with_known_quantity": known},
        "classes": {str(count): totals[count] for count in CLASSES},
        "classes_per_split": {s: {str(c): exploration.classes[s][c] for c in CLASSES} for s in SPLITS},
        "imbalance": max(filled) / min(filled) if filled else None,
        "quantity": {
            "mean": sum(count * number for count, number in quantities.items()) / known if known else None,
            "share_under_ten": sum(n for count, n in quantities.items() if count < 10) / known if known else None,
            "histogram": _sorted(quantities),
        },
        "skus": {
            "bins_with_items": exploration.bins_with_items,
            "distinct": len(exploration.skus),
            "seen_once": repeats[1],
            "seen_twice": repeats[2],
            "seen_3_to_9": sum(number for times, number in repeats.items() if 3 <= times <= 9),
            "seen_10_or_more": sum(number for times, number in repeats.items() if times >= 10),
            "most_seen": heapq.nsmallest(_TOP_SKUS, exploration.skus.items(), key=_rank),
        },
        "source_photos": {
            "formats": _most_first(exploration.formats),
            "modes": _most_first(exploration.modes),
            "widths_from": _sorted(exploration.widths),
            "heights_from": _sorted(exploration.heights),
            "kilobytes_from": _sorted(exploration.kilobytes),
            "repeated_content": _repeated(exploration.contents),
        },
        "set_aside": {fate: _most_first(reasons) for fate, reasons in sorted(exploration.reasons.items())},
        "quarantine_examples": dict(sorted(exploration.examples.items())),
        "samples": {str(count): [row.id for row in rows] for count, rows in exploration.samples().items()},
    }


def _repeated(digests: bytearray) -> int:
    """How many photos have the content of another one, which does not count."""
    halves = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    ordered = halves[np.lexsort(halves.T)]
    return int(np.count_nonzero((ordered[1:] == ordered[:-1]).all(axis=1)))


def _most_first(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=_rank))


def _rank(entry: tuple[str, int]) -> tuple[int, str]:
    """The most frequent first, by name where they are equal."""
    name, number = entry
    return -number, name


def _sorted(counter: Counter[int]) -> dict[str, int]:
    return {str(key): counter[key] for key in sorted(counter)}
