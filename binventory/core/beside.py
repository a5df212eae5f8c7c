"""One piece of work beside another: it stops when the other fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """Ends work that has to stop. The failure that stopped it is raised instead."""


@contextmanager
def beside(work: Callable[[Callable[[], None]], T]) -> Iterator[Future[T]]:
    """Runs `work` in a thread while the block runs, and ends when both have ended.

    A block that fails, also by Ctrl-C, stops the work: `work` is given a function to call every now and then, which
    raises StoppedError from then on. A block that needs the result, or the failure, asks for `result()`.
    """
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise StoppedError

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work, check)
        try:
            yield working
        except BaseException:
            stopped.set()
            raise
