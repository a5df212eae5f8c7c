"""The thread of the network: it takes all photos that wait at the same time. No photo waits for others to come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

import numpy as np

from serving.decoding import Job
from serving.network import Logits, Photos

_CLOSING_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Scored:
    """One photo's scores [classes], when it was queued (`time.perf_counter`), how long it waited and its batch took."""

    scores: Logits
    queued_at: float
    queue_ms: float
    model_ms: float


@dataclass(frozen=True)
class _Waiting:
    photo: Photos
    since: float
    deliver: Callable[[Scored | Exception], None]


class MicroBatcher:
    """One thread that owns the network: when it is free it takes all photos that wait, up to `largest`.

    The server's admission bounds the queue: every admitted photo is answered.
    """

    def __init__(self, logits: Callable[[Photos], Logits], *, largest: int) -> None:
        self._logits = logits
        self._largest = largest
        self._waiting: deque[_Waiting] = deque()
        self._job: Job | None = None
        self._rests = False
        self._lock = threading.Lock()
        # Where the thread rests. It holds at most one item, which ends the rest. A Condition would do the same, but in
        # Python code, for which a client waits.
        self._alarm: SimpleQueue[None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def enqueue(self, photo: Photos, deliver: Callable[[Scored | Exception], None]) -> None:
        """Queue one photo [height, width, 3]; `deliver` is called with its scores, or with the network's exception.

        From any thread, so that a decoder hands its photo on without a turn of the event loop.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the server is stopping")
            self._waiting.append(_Waiting(photo, time.perf_counter(), deliver))
            self._end_rest()

    def lend(self, job: Job) -> bool:
        """Let the network's thread run a job now if it rests; False if it does not, and the job is not run.

        So a photo that comes alone is decoded in the thread that scores it, without a change of threads between. Jobs
        must not raise.
        """
        with self._lock:
            if not self._rests or self._closed:
                return False
            self._job = job
            self._end_rest()
            return True

    def close(self) -> None:
        """Score the photos that wait, for a moment, then end the thread."""
        with self._lock:
            self._closed = True
            self._end_rest()
        self._thread.join(_CLOSING_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def _end_rest(self) -> None:
        """With the lock."""
        if self._rests:
            self._rests = False
            self._alarm.put(None)

    def _work(self) -> None:
        while batch := self._take():
            self._score(batch)

    def _score(self, batch: list[_Waiting]) -> None:
        begun = time.perf_counter()
        try:
            scores = self._logits(_stacked(batch))
        # It is delivered to the photo that has it: other photos, and the next batch, must still be scored.
        except Exception as error:
            if len(batch) == 1:
                batch[0].deliver(error)
            else:
                for entry in batch:
                    self._score([entry])
            return
        model_ms = (time.perf_counter() - begun) * 1000
        for entry, row in zip(batch, scores, strict=True):
            entry.deliver(Scored(row, entry.since, (begun - entry.since) * 1000, model_ms))

    def _take(self) -> list[_Waiting]:
        """The photos that wait, once there are any; none when the server stops. Runs lent jobs meanwhile."""
        while True:
            with self._lock:
                job, self._job = self._job, None
                if job is None and (self._waiting or self._closed):
                    return [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]
                self._rests = job is None
            if job is None:
                self._alarm.get()
            else:
                # A photo that it enqueues is taken next.
                job()


def _stacked(batch: list[_Waiting]) -> Photos:
    """[N, height, width, 3]; a single photo is not copied."""
    return batch[0].photo[None] if len(batch) == 1 else np.stack([entry.photo for entry in batch])
