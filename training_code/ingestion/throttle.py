"""Bounds for downloads: requests in flight, bytes in memory, and results that wait for their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


# With fewer the first answers come in bursts, and later ones keep their rhythm: a core waits between them.
_FIRST: Final = 64


class AdaptiveLimit:
    """Number of requests that may be in flight: doubles each round, halves when the server asks to slow down.

    As in TCP, after the first slow-down it grows by one a round. Requests that are in flight together cause one halving
    at most, because their answers arrive together.
    """

    def __init__(self, maximum: int, start: int = _FIRST) -> None:
        if maximum < 1:
            raise ValueError(f"concurrency must be at least 1, not {maximum}")
        self.maximum = maximum
        self.limit = float(min(start, maximum))
        self.in_flight = 0
        self.slow_downs = 0
        self._sent_before_cut = 0
        self._doubling = True
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a place, hold it for the body."""
        while self.in_flight >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()
                raise
        self.in_flight += 1

    async def __aexit__(self, *_: object) -> None:
        self.in_flight -= 1
        self._wake()

    def succeeded(self) -> None:
        """A request succeeded."""
        self._answered()
        step = 1.0 if self._doubling else 1.0 / self.limit
        self.limit = min(float(self.maximum), self.limit + step)

    def slowed(self) -> None:
        """The server asked for fewer requests, or dropped one."""
        self.slow_downs += 1
        if self._sent_before_cut == 0:
            self._sent_before_cut = int(self.limit)
            self.limit = max(1.0, self.limit / 2)
        self._answered()
        self._doubling = False

    def _answered(self) -> None:
        self._sent_before_cut = max(0, self._sent_before_cut - 1)

    def _wake(self) -> None:
        free = int(self.limit) - self.in_flight
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


class ByteBudget:
    """Number of bytes that may be held between request and result, granted in the order of the calls.

    An item that is larger than the budget is granted alone.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Wait until `size` bytes fit, hold them for the body."""
        if self._waiting or not self._fits(size):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back(size)
                raise
        else:
            self.held += size
        try:
            yield
        finally:
            self._give_back(size)

    def _fits(self, size: int) -> bool:
        return self.held == 0 or self.held + size <= self.limit

    def _give_back(self, size: int) -> None:
        self.held -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.held += size
                turn.set_result(None)


async def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    window: int,
    *,
    size_of: Callable[[Item], int] = lambda item: 0,
    most_bytes: int = 0,
) -> AsyncGenerator[tuple[Item, Result]]:
    """Run `work` for up to `window` items at once and yield every item with its result, in the order of the items.

    Args:
        size_of: bytes that the result of an item will hold. All results under way hold `most_bytes` at most; a larger
            one runs alone.

    The first error ends it: work under way is cancelled and awaited.
    """
    pending: deque[tuple[Item, asyncio.Future[Result]]] = deque()
    held = 0
    try:
        for item in items:
            size = size_of(item)
            while pending and (len(pending) >= window or held + size > most_bytes):
                first, task = pending.popleft()
                yield first, await task
                held -= size_of(first)
            held += size
            pending.append((item, asyncio.ensure_future(work(item))))
        while pending:
            first, task = pending.popleft()
            yield first, await task
    finally:
        for _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
