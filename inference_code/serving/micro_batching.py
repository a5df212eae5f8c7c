"""The thread of the network: it takes all photos that wait at the same time. No photo waits for others to come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def enqueue(self, photo: Photos, deliver: Callable[[Scored | Exception], None]) -> None:
        """Queue one photo [height, width, 3]; `deliver` is called with its scores, or with the network's exception.

        From any thread, so that a decoder hands its photo on without a turn of the event loop.
        """
        with self._wake:
            if self._closed:
                raise RuntimeError("the server is stopping")
            self._waiting.append(_Waiting(photo, time.perf_counter(), deliver))
            self._wake.notify()

    def lend(self, job: Job) -> bool:
        """Let the network's thread run a job now if it rests; False if it does not, and the job is not run.

        So a photo that comes alone is decoded in the thread that scores it, without a change of threads between. Jobs
        must not raise.
        """
        with self._wake:
            if not self._rests or self._waiting or self._closed:
                return False
            self._rests, self._job = False, job
            self._wake.notify()
            return True

    def close(self) -> None:
        """Score the photos that wait, for a moment, then end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(_CLOSING_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while batch := self._take():
            begun = time.perf_counter()
            try:
                scores = self._logits(np.stack([entry.photo for entry in batch]))
            # An error of the runtime is delivered to the requests of this batch; the next batch must still run.
            except Exception as error:
                for entry in batch:
                    entry.deliver(error)
                continue
            model_ms = (time.perf_counter() - begun) * 1000
            for entry, row in zip(batch, scores, strict=True):
                entry.deliver(Scored(row, entry.since, (begun - entry.since) * 1000, model_ms))

    def _take(self) -> list[_Waiting]:
        with self._wake:
            while self._job is not None or not (self._waiting or self._closed):
                if self._job is not None:
                    self._run(self._job)
                else:
                    self._rests = True
                    self._wake.wait()
            self._rests = False
            return [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]

    def _run(self, job: Job) -> None:
        """Run the lent job without the lock; a photo that it enqueues is taken next."""
        self._wake.release()
        try:
            job()
        finally:
            self._wake.acquire()
            self._job = None
