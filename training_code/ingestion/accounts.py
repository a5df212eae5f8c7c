"""The rows that were written, read back and counted: unit by unit, while the next ones are being worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from ingestion.books import Tally
from ingestion.exploration import Exploration
from ingestion.ledger import Row, read_kept, read_set_aside
from ingestion.unit_files import PLAN, REPORT, mark_path

_EVERY_SECONDS: Final = 0.2


class Accounts:
    """The books and the exploration of the units named, as far as they are finished.

    Every row counts once, and the sums are the same in whatever order the units are finished. `PLAN` stands for the
    rows that were decided before any photo was read.
    """

    def __init__(self, output: Path, units: Iterable[str], *, seed: int) -> None:
        self.tally = Tally()
        self.exploration = Exploration(seed)
        self._output = output
        self._awaited = list(units)

    def take_finished(self) -> None:
        """Count the units whose marks are there by now, and were not before."""
        for unit in [unit for unit in self._awaited if unit == PLAN or mark_path(self._output, unit).exists()]:
            for row in _rows(self._output / REPORT, unit):
                self.tally.add(row)
                self.exploration.add(row)
            self._awaited.remove(unit)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Count units as they are finished while the body runs, and the last ones after it."""
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
