"""The work of one process: photos read, checked and written as shards, many at once, always in the order of the plan.

Every core has a process that takes the next unit whenever it has room. To the process, the units are one stream:
requests run on the object store's threads, the event loop decodes and writes. (A thread for decoding would have no core
to itself, and would compete with the loop for the interpreter.) Memory is bounded by a window of results and a budget
of photo bytes. All processes count their photos in shared memory; one of them reports the progress.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
from collections.abc import Iterable, MutableSequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from binventory.records.errors import RecordError
from ingestion.candidates import read_label
from ingestion.destination import Destination
from ingestion.intake import KEPT_AS_SENT, DamagedPhoto, ShardPhoto, Workbench, take_in
from ingestion.labels import Labelled
from ingestion.plan import Candidate, Unit
from ingestion.rows import QUARANTINED, SKIPPED
from ingestion.source import BinSource, Changed, SourceError
from ingestion.throttle import AdaptiveLimit, ByteBudget, in_order
from ingestion.unit_files import Finished, PhotoOutcome, UnitWriter
from photo import PhotoError
from stacks.vocabulary import CLASSES

_EVERY_SECONDS: Final = 5.0
_DONE, _SET_ASIDE, _IN_FLIGHT, _SLOW_DOWNS, _FIELDS = range(5)

log = logging.getLogger(__name__)
_REREADS: Final = 5
CHANGED: Final = "changed_while_reading"


class WorkStopped(RuntimeError):
    """This process must stop: another one has failed, or a person has interrupted the run."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Numbers of several processes in shared memory: each writes its part, one reads all. The last one means stop."""

    values: MutableSequence[int]

    @classmethod
    def shared(cls, processes: int) -> Counters:
        """Counters in memory that child processes share."""
        array = multiprocessing.get_context("spawn").Array("q", processes * _FIELDS + 1, lock=False)
        return cls(cast(MutableSequence[int], array))

    def stop(self) -> None:
        """Make every process stop at its next photo."""
        self.values[len(self.values) - 1] = 1

    def note(self, process: int, *, kept: bool, limit: AdaptiveLimit) -> None:
        """Count one photo. Raises WorkStopped when the process must stop."""
        base = process * _FIELDS
        self.values[base + _DONE] += 1
        self.values[base + _SET_ASIDE] += not kept
        self.values[base + _IN_FLIGHT] = limit.in_flight
        self.values[base + _SLOW_DOWNS] = limit.slow_downs
        if self.values[len(self.values) - 1]:
            raise WorkStopped("another worker has failed")

    def total(self, field: int) -> int:
        """Sum of one field over all processes."""
        return sum(self.values[field : len(self.values) - 1 : _FIELDS])


class PhotoProgress:
    """Logs the progress every five seconds while it is open, and once at the end."""

    def __init__(self, counters: Counters, photos: int) -> None:
        self._counters = counters
        self._photos = photos
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_saying, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._say()

    def _keep_saying(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            self._say()

    def _say(self) -> None:
        total = self._counters.total
        seconds = max(1e-9, time.monotonic() - self._began)
        log.info(
            "%s of %s photos, %.0f a second, %s set aside, %s requests in flight, %s slow-downs",
            f"{total(_DONE):,}",
            f"{self._photos:,}",
            total(_DONE) / seconds,
            f"{total(_SET_ASIDE):,}",
            total(_IN_FLIGHT),
            total(_SLOW_DOWNS),
        )


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """The resources of the machine that a run may use."""

    cores: int
    """Processes, each of which decodes one photo at a time; fewer where there is little to do."""
    concurrency: int
    """Requests in flight; a request counts until the event loop, which also decodes, has taken its answer."""
    photo_bytes: int
    """Bytes of photos held between request and decoding."""
    window: int
    """Photos between request and shard; each one that waits for its turn holds the bytes that the shard will keep."""
    kept_bytes: int
    """Bytes, between request and shard, of photos that are kept as they were sent."""

    @classmethod
    def of(cls, cores: int, *, concurrency: int | None = None, photo_bytes: int | None = None) -> WorkLimits:
        """Limits that keep these cores busy where an answer takes a tenth of a second; other values may be given."""
        held = photo_bytes or 8 * 1024 * 1024 * cores
        return cls(cores, concurrency or 192 * cores, held, 256 * cores, kept_bytes=2 * held)

    def divided(self, parts: int) -> WorkLimits:
        """The limits of one of several processes."""
        return replace(
            self,
            cores=max(1, self.cores // parts),
            concurrency=max(1, self.concurrency // parts),
            photo_bytes=self.photo_bytes // parts,
            window=max(1, self.window // parts),
            kept_bytes=self.kept_bytes // parts,
        )


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a run that one of several processes does; `number` is its index."""

    url: str
    content_tags: bool
    output: Path
    rule: str
    limits: WorkLimits
    number: int
    destination: Destination | None
    intake: type[Intake]


class Intake:
    """Turns candidates into outcomes."""

    def __init__(self, source: BinSource, limits: WorkLimits) -> None:
        self._source = source
        self._budget = ByteBudget(limits.photo_bytes)
        self._bench = Workbench()

    async def outcome(self, candidate: Candidate, *, as_sent: bool) -> PhotoOutcome:
        """Read and check one candidate. A fault of the bin is an outcome, an outage raises SourceError."""
        labelled: Labelled | None = None
        try:
            labelled = await self._labelled(candidate)
            if labelled.count not in CLASSES:
                return PhotoOutcome(labelled, None, SKIPPED, "count_out_of_range", f"count {labelled.count}")
            async with self._budget.hold(candidate.photo.size):
                return PhotoOutcome(labelled, await self._photo(candidate, as_sent=as_sent))
        except Changed as error:
            return PhotoOutcome(labelled, None, QUARANTINED, CHANGED, str(error))
        except (RecordError, PhotoError) as error:
            return PhotoOutcome(labelled, None, QUARANTINED, error.reason, str(error))

    async def _labelled(self, candidate: Candidate) -> Labelled:
        return await read_label(self._source, candidate)

    async def _photo(self, candidate: Candidate, *, as_sent: bool) -> ShardPhoto:
        """Read the photo until its bytes are those that were listed; a damaged answer is requested again."""
        for _ in range(_REREADS):
            try:
                data = await self._source.photo(candidate.photo)
                if data is None:
                    raise PhotoError("photo_missing", "it was listed and is gone")
                return take_in(data, candidate.md5, self._bench, as_sent=as_sent)
            except DamagedPhoto as error:
                if await self._source.has_changed(candidate.photo):
                    raise PhotoError(CHANGED, "its content changed after it was listed") from error
                log.warning("photo %s: %s; requested again", candidate.id, error)
        raise SourceError(
            f"{self._source.url}: photo {candidate.id} arrives damaged every time. Check the network; "
            "where ETags are not MD5 sums, as with KMS encryption, give --ignore-etags"
        )


async def run_share(
    share: Share, units: Iterable[Unit], counters: Counters, source: BinSource | None = None
) -> list[Finished]:
    """Do the units as one stream: downloads of the next unit start while photos of the last one are written."""
    if source is None:
        source = BinSource(share.url, concurrency=share.limits.concurrency)
        source.content_tags = share.content_tags
    intake = share.intake(source, share.limits)
    work: Iterable[tuple[Unit, Candidate]] = ((unit, candidate) for unit in units for candidate in unit.candidates)
    marks: list[Finished] = []
    uploads: list[asyncio.Task[None]] = []
    writer: UnitWriter | None = None

    async def outcome(item: tuple[Unit, Candidate]) -> PhotoOutcome:
        unit, candidate = item
        return await intake.outcome(candidate, as_sent=unit.split in KEPT_AS_SENT)

    def kept_bytes(item: tuple[Unit, Candidate]) -> int:
        unit, candidate = item
        return candidate.photo.size if unit.split in KEPT_AS_SENT else 0

    limits = share.limits
    ordered = in_order(work, outcome, limits.window, size_of=kept_bytes, most_bytes=limits.kept_bytes)
    try:
        async with aclosing(ordered) as results:
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
        # Also after a failure: the retry skips what is uploaded.
        await asyncio.gather(*uploads)
    return marks
