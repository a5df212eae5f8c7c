"""Ctrl-C in the process that starts the others."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def run_until_interrupted(work: Coroutine[None, None, T], *, stopped: tuple[type[Exception], ...] = ()) -> T:
    """Run the work; the first Ctrl-C cancels it, and further ones are ignored until the process has ended.

    asyncio raises KeyboardInterrupt at the second, wherever the process is. In the middle of telling its workers to end
    it would wait for them forever. Raises KeyboardInterrupt when work that was interrupted has ended.

    Args:
        stopped: errors with which interrupted work may end too. A terminal interrupts the workers as well, and one of
            them may say so before the work is cancelled.
    """
    interrupted = False
    ends: tuple[type[BaseException], ...] = (asyncio.CancelledError, *stopped)

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupt(*_: object) -> None:
            nonlocal interrupted
            if not interrupted and task is not None:
                interrupted = True
                loop.call_soon_threadsafe(task.cancel)

        if threading.current_thread() is not threading.main_thread():
            return await work  # only the main thread has signals
        before = signal.signal(signal.SIGINT, interrupt)
        try:
            return await work
        finally:
            if not interrupted:
                signal.signal(signal.SIGINT, before)

    try:
        return asyncio.run(cancellable())
    except ends:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
