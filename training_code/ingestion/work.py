"""The work: photos read, checked, resized and written as shards, many at once and always in the order of the plan.

Every core has a process that takes the next unit whenever it has room: to it the units are one stream in which requests
run on the object store's threads, and the event loop decodes and writes. (A thread for decoding would have no core of
its own, and would contend with the loop for the interpreter.) What is in memory is bounded by a window of results and
a budget of photo bytes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import uvloop

from ingestion.candidates import read_label
from ingestion.destination import Destination
from ingestion.intake import DamagedPhoto, ShardPhoto, take_in
from ingestion.labels import CLASSES, Labelled, RecordError
from ingestion.ledger import QUARANTINED, SKIPPED
from ingestion.plan import Candidate, Unit
from ingestion.progress import Counters, Progress
from ingestion.resizing import Workbench
from ingestion.source import BinSource, Changed, SourceError
from ingestion.throttle import ByteBudget, in_order
from ingestion.unit_files import Finished, Outcome, UnitWriter, finished_unit
from photo import PhotoError

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    UnitQueue = Queue[Unit | None]

_REREADS: Final = 5
CHANGED: Final = "changed_while_reading"
_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000
# A process takes most of a second to start: as long as some hundred photos take.
_WORTH_A_PROCESS: Final = 300

log = logging.getLogger(__name__)


class WorkError(RuntimeError):
    """A worker ended without finishing; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use of the machine."""

    cores: int
    """Processes, each of which decodes one photo at a time; fewer where there is little to do."""
    concurrency: int
    """Requests in flight; an answer counts until the loop, which decodes as well, has taken it."""
    photo_bytes: int
    """Bytes of photos held between request and decoding."""
    window: int
    """Photos under way from request to shard; each that waits for its turn holds its resized JPEG."""

    @classmethod
    def of(cls, cores: int, *, concurrency: int | None = None, photo_bytes: int | None = None) -> Limits:
        """What keeps so many cores busy where an answer takes a tenth of a second, unless told otherwise."""
        return cls(cores, concurrency or 192 * cores, photo_bytes or 8 * 1024 * 1024 * cores, 256 * cores)

    def divided(self, parts: int) -> Limits:
        """The limits of one of several processes."""
        return replace(
            self,
            cores=max(1, self.cores // parts),
            concurrency=max(1, self.concurrency // parts),
            photo_bytes=self.photo_bytes // parts,
            window=max(1, self.window // parts),
        )


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several processes needs to do units; `number` tells them apart."""

    url: str
    content_tags: bool
    output: Path
    rule: str
    limits: Limits
    number: int
    destination: Destination | None


class Intake:
    """Turns candidates into outcomes."""

    def __init__(self, source: BinSource, limits: Limits) -> None:
        self._source = source
        self._budget = ByteBudget(limits.photo_bytes)
        self._bench = Workbench()

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
        for _ in range(_REREADS):
            try:
                data = await self._source.photo(candidate.photo)
                if data is None:
                    raise PhotoError("photo_missing", "it was listed and is gone")
                return take_in(data, candidate.md5, self._bench)
            except DamagedPhoto as error:
                if await self._source.has_changed(candidate.photo):
                    raise PhotoError(CHANGED, "its content changed after it was listed") from error
                log.warning("photo %s: %s; asking again", candidate.id, error)
        raise SourceError(
            f"{self._source.url}: photo {candidate.id} arrives damaged every time. Check the network; "
            "where ETags are not MD5 sums, as with KMS encryption, give --ignore-etags"
        )


async def run_units(
    source: BinSource,
    units: Sequence[Unit],
    output: Path,
    *,
    rule: str,
    limits: Limits,
    destination: Destination | None = None,
) -> tuple[Finished, ...]:
    """Do the units' missing work and return the marks of all of them, in order."""
    if destination is not None:
        await destination.restore(output, units)
    done = {unit.name: mark for unit in units if (mark := finished_unit(output, unit)) is not None}
    missing = [unit for unit in units if unit.name not in done]
    if done:
        log.info("%s of %s shards are finished already", len(done), len(units))
    photos = sum(len(unit.candidates) for unit in missing)
    parts = max(1, min(limits.cores, len(missing), photos // _WORTH_A_PROCESS))
    shares = [
        Share(
            url=source.url,
            content_tags=source.content_tags,
            output=output,
            rule=rule,
            limits=limits.divided(parts),
            number=number,
            destination=destination,
        )
        for number in range(parts)
    ]
    counters = Counters.shared(parts) if parts > 1 else Counters.private()
    with Progress(counters, photos):
        if parts > 1:
            marks = await _in_processes(shares, missing, counters)
        else:
            marks = await run_share(shares[0], missing, counters, source)
    done.update({mark.unit: mark for mark in marks})
    return tuple(done[unit.name] for unit in units)


async def _in_processes(shares: Sequence[Share], units: Sequence[Unit], counters: Counters) -> list[Finished]:
    loop = asyncio.get_running_loop()
    # Forking a process in which the object store's threads run would copy their locks, taken.
    context = multiprocessing.get_context("spawn")
    # Each of the object store's threads would otherwise have an arena of its own for what it allocates and frees.
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    # Units are copied when they are asked for, so that no process holds those of the others.
    waiting: UnitQueue = context.Queue()
    # The smallest last, so that all processes end at about the same time.
    for unit in (*sorted(units, key=lambda unit: -len(unit.candidates)), *(None for _ in shares)):
        waiting.put(unit)
    pool = ProcessPoolExecutor(
        len(shares), mp_context=context, initializer=_start_worker, initargs=(counters, waiting, os.getpid())
    )
    try:
        work = [loop.run_in_executor(pool, _work, share) for share in shares]
        try:
            return [mark for marks in await asyncio.gather(*work) for mark in marks]
        except BrokenProcessPool as error:
            raise WorkError("a worker process was killed; if memory ran out, give a smaller --memory-mb") from error
        finally:
            counters.stop()
            await asyncio.gather(*work, return_exceptions=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # After a failure nobody takes the rest.
        waiting.cancel_join_thread()
        waiting.close()


_shared: tuple[Counters, UnitQueue] | None = None


def _start_worker(counters: Counters, waiting: UnitQueue, parent: int) -> None:
    global _shared
    _shared = counters.of_child(parent), waiting
    # Nearly all of a photo's tasks and futures are freed as they go: cycles among them are looked for seldom.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)


def _work(share: Share) -> list[Finished]:
    assert _shared is not None, "the pool starts every worker with counters and queue"
    counters, waiting = _shared
    units = cast(Iterator[Unit], iter(waiting.get, None))
    return uvloop.run(run_share(share, units, counters))


async def run_share(
    share: Share, units: Iterable[Unit], counters: Counters, source: BinSource | None = None
) -> list[Finished]:
    """One stream through the units: the next one's downloads start while the last one's photos are being written."""
    if source is None:
        source = BinSource(share.url, concurrency=share.limits.concurrency)
        source.content_tags = share.content_tags
    intake = Intake(source, share.limits)
    work: Iterable[tuple[Unit, Candidate]] = ((unit, candidate) for unit in units for candidate in unit.candidates)
    marks: list[Finished] = []
    uploads: list[asyncio.Task[None]] = []
    writer: UnitWriter | None = None

    async def outcome(item: tuple[Unit, Candidate]) -> Outcome:
        return await intake.outcome(item[1])

    try:
        async with aclosing(in_order(work, outcome, share.limits.window)) as results:
            async for (unit, candidate), result in results:
                writer = writer or UnitWriter(share.output, unit, rule=share.rule)
                writer.add(candidate, result)
                counters.note(share.number, kept=result.photo is not None, limit=source.limit)
                if candidate is unit.candidates[-1]:
                    marks.append(writer.finish())
                    writer = None
                    if share.destination is not None:
                        uploads.append(asyncio.create_task(share.destination.publish(share.output, marks[-1])))
    finally:
        if writer is not None:
            writer.discard()
        # Also after a failure: what is saved is what the retry need not do.
        await asyncio.gather(*uploads)
    return marks
