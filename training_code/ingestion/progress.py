"""How far the work is, counted by every process and said by one; and the way to stop them all."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import MutableSequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self, cast

from ingestion.throttle import AdaptiveLimit

_EVERY_SECONDS: Final = 5.0
_DONE, _SET_ASIDE, _IN_FLIGHT, _SLOW_DOWNS, _FIELDS = range(5)

log = logging.getLogger(__name__)


class Stopped(RuntimeError):
    """Another process has failed, or the parent is gone: there is no use in going on."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Numbers that several processes write, each its own, and one reads. The last says that all must stop."""

    values: MutableSequence[int]
    parent: int | None = None

    @classmethod
    def shared(cls, processes: int) -> Counters:
        """Counters in memory that child processes share."""
        array = multiprocessing.get_context("spawn").Array("q", processes * _FIELDS + 1, lock=False)
        return cls(cast(MutableSequence[int], array))

    def of_child(self, parent: int) -> Counters:
        """The same counters in a child, which ends when its parent does."""
        return replace(self, parent=parent)

    def stop(self) -> None:
        """Have every process end at its next photo."""
        self.values[len(self.values) - 1] = 1

    def note(self, process: int, *, kept: bool, limit: AdaptiveLimit) -> None:
        """Count one photo. Raises Stopped when the process must end."""
        base = process * _FIELDS
        self.values[base + _DONE] += 1
        self.values[base + _SET_ASIDE] += not kept
        self.values[base + _IN_FLIGHT] = limit.in_flight
        self.values[base + _SLOW_DOWNS] = limit.slow_downs
        if self.values[len(self.values) - 1] or (self.parent is not None and os.getppid() != self.parent):
            raise Stopped("another worker has failed, or the main process is gone")

    def total(self, field: int) -> int:
        """One field over all processes."""
        return sum(self.values[field : len(self.values) - 1 : _FIELDS])


class Progress:
    """While it is open, a line every five seconds; one more at the end."""

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
