"""The work: photos read, checked, resized and written as shards, many at once and always in the order of the plan.

Downloads, decoding and writing overlap: requests run on an event loop, decoding on one thread a core, and the loop
writes. What is in memory is bounded by a window of results and by a budget of photo bytes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ingestion.candidates import read_label
from ingestion.intake import DamagedPhoto, ShardPhoto, take_in
from ingestion.labels import CLASSES, Labelled, RecordError
from ingestion.ledger import QUARANTINED, SKIPPED
from ingestion.plan import Candidate, Unit
from ingestion.source import BinSource, Changed, SourceError
from ingestion.throttle import ByteBudget, in_order
from ingestion.unit_files import Finished, Outcome, UnitWriter, finished_unit
from photo import PhotoError

_REREADS: Final = 5
CHANGED: Final = "changed_while_reading"
_PROGRESS_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use of the machine."""

    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Photos decoded at once."""
    window: int = 1024
    """Photos under way at once, from request to shard."""
    photo_bytes: int = 64 * 1024 * 1024
    """Bytes of photos held between request and decoding."""


class Intake:
    """Turns candidates into outcomes."""

    def __init__(self, source: BinSource, limits: Limits) -> None:
        self._source = source
        self._budget = ByteBudget(limits.photo_bytes)
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="decode")

    async def outcome(self, candidate: Candidate) -> Outcome:
        """Read, check and resize one candidate. What is wrong with a bin is an outcome; SourceError is an outage."""
        labelled: Labelled | None = None
        try:
            labelled = await read_label(self._source, candidate)
            if labelled.count not in CLASSES:
                return Outcome(labelled, None, SKIPPED, "count_out_of_range", f"count {labelled.count}")
            async with self._budget.hold(candidate.photo.size):
                return Outcome(labelled, await self._photo(candidate))
        except Changed as error:
            return Outcome(labelled, None, QUARANTINED, CHANGED, str(error))
        except (RecordError, PhotoError) as error:
            return Outcome(labelled, None, QUARANTINED, error.reason, str(error))

    async def _photo(self, candidate: Candidate) -> ShardPhoto:
        """Read until the bytes are those that were listed; a damaged body is asked for again."""
        loop = asyncio.get_running_loop()
        for _ in range(_REREADS):
            try:
                data = await self._source.photo(candidate.photo)
                if data is None:
                    raise PhotoError("photo_missing", "it was listed and is gone")
                return await loop.run_in_executor(self._pool, take_in, data, candidate.md5)
            except DamagedPhoto as error:
                if await self._source.has_changed(candidate.photo):
                    raise PhotoError(CHANGED, "its content changed after it was listed") from error
                log.warning("photo %s: %s; asking again", candidate.id, error)
        raise SourceError(
            f"{self._source.url}: photo {candidate.id} arrives damaged every time. Check the network; "
            "where ETags are not MD5 sums, as with KMS encryption, give --ignore-etags"
        )

    def close(self) -> None:
        """Stop the decoding threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Progress:
    """One line now and then: how far, how fast, what was set aside."""

    def __init__(self, source: BinSource, total: int) -> None:
        self._source = source
        self._total = total
        self._done = self._set_aside = 0
        self._started = self._said = time.monotonic()

    def count(self, outcome: Outcome) -> None:
        """Note one outcome."""
        self._done += 1
        self._set_aside += outcome.photo is None
        if time.monotonic() - self._said > _PROGRESS_SECONDS:
            self.say()

    def say(self) -> None:
        """Log the state."""
        self._said = time.monotonic()
        rate = self._done / max(1e-9, self._said - self._started)
        limit = self._source.limit
        log.info(
            "%s of %s photos, %.0f a second, %s set aside, %s requests in flight of %s allowed, %s slow-downs",
            *(f"{self._done:,}", f"{self._total:,}", rate, f"{self._set_aside:,}"),
            *(limit.in_flight, int(limit.limit), limit.slow_downs),
        )


async def run_units(
    source: BinSource, units: Sequence[Unit], output: Path, *, rule: str, limits: Limits
) -> tuple[Finished, ...]:
    """Do the units' missing work and return the marks of all of them, in order."""
    done = {unit.name: mark for unit in units if (mark := finished_unit(output, unit)) is not None}
    missing = [unit for unit in units if unit.name not in done]
    if done:
        log.info("%s of %s shards are finished already", len(done), len(units))
    intake = Intake(source, limits)
    try:
        for mark in await _run_missing(source, missing, output, intake=intake, rule=rule, window=limits.window):
            done[mark.unit] = mark
    finally:
        intake.close()
    return tuple(done[unit.name] for unit in units)


async def _run_missing(
    source: BinSource, units: Sequence[Unit], output: Path, *, intake: Intake, rule: str, window: int
) -> list[Finished]:
    """One stream through all units: the next unit's downloads start while the last one's photos are being written."""
    work: Iterable[tuple[Unit, Candidate]] = ((unit, candidate) for unit in units for candidate in unit.candidates)
    progress = Progress(source, sum(len(unit.candidates) for unit in units))
    marks: list[Finished] = []
    writer: UnitWriter | None = None

    async def outcome(item: tuple[Unit, Candidate]) -> Outcome:
        return await intake.outcome(item[1])

    try:
        async with aclosing(in_order(work, outcome, window)) as results:
            async for (unit, candidate), result in results:
                writer = writer or UnitWriter(output, unit, rule=rule)
                writer.add(candidate, result)
                progress.count(result)
                if candidate is unit.candidates[-1]:
                    marks.append(writer.finish())
                    writer = None
    finally:
        if writer is not None:
            writer.discard()
    progress.say()
    return marks
