"""Photos that happen to wait together go through the network together; none ever waits for company."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.network import Logits, Photos


@dataclass(frozen=True)
class Scored:
    """One photo's scores [classes], with the milliseconds it waited and the milliseconds its batch took."""

    scores: Logits
    queue_ms: float
    model_ms: float


@dataclass(frozen=True)
class _Waiting:
    photo: Photos
    since: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Scored]


class MicroBatcher:
    """One thread that owns the network: it takes whatever waits, up to `largest` photos, the moment it is free.

    The queue is bounded by the server's admission, not here: a photo that was let in is answered.
    """

    def __init__(self, logits: Callable[[Photos], Logits], *, largest: int) -> None:
        self._logits = logits
        self._largest = largest
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    async def score(self, photo: Photos) -> Scored:
        """Scores for one photo [height, width, 3]. Raises what the network raised."""
        loop = asyncio.get_running_loop()
        entry = _Waiting(photo, time.perf_counter(), loop, loop.create_future())
        with self._wake:
            if self._closed:
                raise RuntimeError("the server is stopping")
            self._waiting.append(entry)
            self._wake.notify()
        return await entry.future

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread that answers still runs."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while batch := self._take():
            begun = time.perf_counter()
            try:
                scores = self._logits(np.stack([entry.photo for entry in batch]))
            # Whatever the runtime raises belongs to the requests that met it; the next batch must still run.
            except Exception as error:
                for entry in batch:
                    _deliver(entry, error)
                continue
            model_ms = (time.perf_counter() - begun) * 1000
            for entry, row in zip(batch, scores, strict=True):
                _deliver(entry, Scored(row, (begun - entry.since) * 1000, model_ms))

    def _take(self) -> list[_Waiting]:
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
            return [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]


def _deliver(entry: _Waiting, outcome: Scored | Exception) -> None:
    def resolve() -> None:
        if entry.future.cancelled():
            return
        if isinstance(outcome, Scored):
            entry.future.set_result(outcome)
        else:
            entry.future.set_exception(outcome)

    try:
        entry.loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        # The loop has closed: nobody is left to hear the answer.
        return
