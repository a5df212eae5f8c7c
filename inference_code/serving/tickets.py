"""How a request waits on the event loop for what other threads make of its photo."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")


class Ticket(Generic[Outcome]):
    """Made on the event loop, handed from thread to thread, delivered once by whichever of them has the outcome."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Outcome] = self._loop.create_future()

    async def outcome(self) -> Outcome:
        """What was delivered. Raises the error that was delivered instead."""
        return await self._future

    def deliver(self, outcome: Outcome | Exception) -> None:
        """Hand over the outcome, or the error that stands in its place, from any thread."""
        # A closed loop means that nobody is left to hear it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, outcome)

    def _resolve(self, outcome: Outcome | Exception) -> None:
        if self._future.cancelled():
            return
        if isinstance(outcome, Exception):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)
