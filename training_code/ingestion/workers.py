"""The processes that do the work: one for each core, each takes the next unit whenever it has room."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

import uvloop

from ingestion.destination import Destination
from ingestion.plan import Unit
from ingestion.run import IngestError
from ingestion.source import BinSource
from ingestion.unit_files import Finished, finished_unit, mark_path
from ingestion.work import Counters, Intake, PhotoProgress, Share, WorkLimits, WorkStopped, run_share

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    UnitQueue = Queue[Unit | None]

_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000
# A process takes most of a second to start, the time of a few hundred photos.
_WORTH_A_PROCESS: Final = 300
# Otherwise the libraries of each worker would take an arena of memory for each thread of the object store, and start
# threads for numpy's matrices, of which nothing here multiplies any.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}

log = logging.getLogger(__name__)


class WorkError(IngestError):
    """A worker process ended before its work was done; the message names the cure."""


def worthwhile(cores: int, photos: int) -> int:
    """Number of processes that this many photos are worth."""
    return max(1, min(cores, photos // _WORTH_A_PROCESS))


class Workers:
    """At most `most` processes, which end with the `with` block."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.counters = Counters.shared(most)
        self._crew: _Crew | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crew is not None:
            self._crew.dismiss(finished=error is None)

    def start(self, photos: int) -> None:
        """Start the processes that this many photos are worth, already while the source is listed."""
        wanted = worthwhile(self.most, photos)
        if wanted > 1:
            self._crew = self._crew or _Crew(self.most, self.counters)
            self._crew.start(wanted)

    async def run(self, shares: Sequence[Share], units: list[Unit]) -> list[Finished]:
        """Do the units with one process for each share. The first error stops all of them. Raises WorkError."""
        self._crew = self._crew or _Crew(self.most, self.counters)
        try:
            return await self._crew.run(shares, units)
        except BrokenProcessPool as error:
            raise WorkError("a worker process was killed; if memory ran out, give a smaller --memory-mb") from error
        except WorkStopped as error:
            raise WorkError("a worker process was interrupted; run again: finished shards are kept") from error


class _Crew:
    """Processes and the queue of units that they share."""

    def __init__(self, most: int, counters: Counters) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # A fork would copy the locks of the object store's threads in their locked state.
        context = multiprocessing.get_context("spawn")
        # A unit is copied when a process takes it, so no process holds the units of the others.
        self._waiting: UnitQueue = context.Queue()
        self._counters = counters
        shared = counters, self._waiting
        self._pool = ProcessPoolExecutor(most, mp_context=context, initializer=_start_worker, initargs=shared)
        self._started = 0

    def start(self, processes: int) -> None:
        """Start processes up to this number, without waiting for them."""
        # A process that was killed raises the error when it is used.
        with suppress(BrokenProcessPool), _interrupts_later():
            while self._started < processes:
                self._started += 1
                self._pool.submit(_nothing)

    async def run(self, shares: Sequence[Share], units: list[Unit]) -> list[Finished]:
        """Queue the units; an error stops all processes. Raises BrokenProcessPool when a process was killed."""
        for unit in (*_taken(units), *(None for _ in shares)):
            self._waiting.put(unit)
        loop = asyncio.get_running_loop()
        with _interrupts_later():
            work = [loop.run_in_executor(self._pool, _work, share) for share in shares]
        try:
            return [mark for marks in await asyncio.gather(*work) for mark in marks]
        finally:
            self._counters.stop()
            await asyncio.gather(*work, return_exceptions=True)

    def dismiss(self, *, finished: bool) -> None:
        """End the processes and wait for their end, so that a second Ctrl-C leaves none behind."""
        if not finished:
            # No process takes the units that the queue's thread still holds.
            self._waiting.cancel_join_thread()
        with _interrupts_later():
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.close()
        if finished:
            self._waiting.join_thread()


async def run_units(
    source: BinSource,
    units: list[Unit],
    output: Path,
    *,
    rule: str,
    limits: WorkLimits,
    workers: Workers,
    destination: Destination | None,
    intake: type[Intake],
) -> list[Finished]:
    """Do the units and return their marks. Units are removed from the list, which frees their memory."""
    photos = sum(len(unit.candidates) for unit in units)
    parts = min(worthwhile(workers.most, photos), max(1, len(units)))
    # The smallest last, so that all processes end at about the same time.
    units.sort(key=lambda unit: -len(unit.candidates))
    shares = [
        Share(
            url=source.url,
            content_tags=source.content_tags,
            output=output,
            rule=rule,
            limits=limits.divided(parts),
            number=number,
            destination=destination,
            intake=intake,
        )
        for number in range(parts)
    ]
    with PhotoProgress(workers.counters, photos):
        if parts > 1:
            return await workers.run(shares, units)
        return await run_share(shares[0], _taken(units), workers.counters, source)


async def finished_before(output: Path, units: list[Unit], destination: Destination | None) -> list[Finished]:
    """The marks of units that an earlier run has finished. Those units are removed from the list.

    Marks that are no longer valid are deleted.
    """
    if destination is not None:
        await destination.restore(output, units)
    done = {unit.name: mark for unit in units if (mark := finished_unit(output, unit)) is not None}
    units[:] = [unit for unit in units if unit.name not in done]
    for unit in units:
        mark_path(output, unit.name).unlink(missing_ok=True)
    if done:
        log.info("%s of %s shards are finished already", len(done), len(done) + len(units))
    return list(done.values())


def _taken(units: list[Unit]) -> Iterator[Unit]:
    while units:
        yield units.pop(0)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Delay Ctrl-C until the body ends; processes that start in it delay it until they have work."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_shared: tuple[Counters, UnitQueue] | None = None


def _start_worker(counters: Counters, waiting: UnitQueue) -> None:
    global _shared
    _shared = counters, waiting
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # At the normal end of Python the object store's threads may abort the process.
    atexit.register(os._exit, 0)
    # Reference counting frees nearly all tasks and futures of a photo, so cycles are collected seldom.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)


def _end_with_parent() -> None:
    """End this process when its parent has ended, even by SIGKILL: nobody would take its work."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a pool has started this process"
    parent.join()
    os._exit(1)


def _nothing() -> None:
    """A task that does nothing: the pool starts a process for it."""


def _work(share: Share) -> list[Finished]:
    assert _shared is not None, "the pool starts every worker with counters and queue"
    counters, waiting = _shared
    units = cast(Iterator[Unit], iter(waiting.get, None))
    try:
        return uvloop.run(_until_interrupted(run_share(share, units, counters)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        # Ctrl-C reaches every process of a terminal; the main process prints the message.
        raise WorkStopped("interrupted") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _until_interrupted(work: Coroutine[None, None, list[Finished]]) -> list[Finished]:
    """Run the work; the first Ctrl-C cancels it, further ones are ignored."""
    task = asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return await task
