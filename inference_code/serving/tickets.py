"""Tickets, by which a request waits on the event loop for a result from other threads."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")


class Ticket(Generic[Outcome]):
    """Made on the event loop and passed from thread to thread; the thread with the outcome delivers it, once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Outcome] = self._loop.create_future()

    async def outcome(self) -> Outcome:
        """Wait for the outcome. Raises the error that was delivered instead of one."""
        return await self._future

    @property
    def awaited(self) -> bool:
        """Whether a request still waits for the outcome; from any thread."""
        return not self._future.done()

    def deliver(self, outcome: Outcome | Exception) -> None:
        """Deliver the outcome, or an error instead, from any thread."""
        # A closed loop means that no request waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, outcome)

    def _resolve(self, outcome: Outcome | Exception) -> None:
        if self._future.done():
            return
        if isinstance(outcome, Exception):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)
