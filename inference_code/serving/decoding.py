"""Threads that decode photos: most photos at once, large ones in turn.

A large photo takes a second and hundreds of megabytes. One thread takes those, so that they need the memory of one and
no other photo waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

Job = Callable[[], None]
# For the jobs that run when the server stops. A photo that takes longer is not waited for.
_CLOSING_SECONDS: Final = 2.0


class Decoders:
    """Runs jobs in threads: `threads` for most of them and one for the large ones. Jobs must not raise."""

    def __init__(self, threads: int) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._large: SimpleQueue[Job | None] = SimpleQueue()
        self._closed = False
        queues = [*[self._jobs] * threads, self._large]
        # Daemons: a job that does not end keeps no process alive.
        self._threads = [
            threading.Thread(target=self._work, args=(queue,), name="decoder", daemon=True) for queue in queues
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job, *, large: bool = False) -> None:
        """Run the job when a thread is free."""
        (self._large if large else self._jobs).put(job)

    def close(self) -> None:
        """Drop the jobs that wait, and wait a moment for those that run."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        self._large.put(None)
        for thread in self._threads:
            thread.join(_CLOSING_SECONDS / len(self._threads))

    def _work(self, queue: SimpleQueue[Job | None]) -> None:
        while True:
            job = queue.get()
            if job is None:
                return
            if not self._closed:
                job()
            # It holds a photo, and the next one may be hours away.
            del job
