"""Callers that send requests to an endpoint while it is being changed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from botocore.exceptions import ClientError


class Callers:
    """Requests from several callers at the same time, with the answer or the error of each.

    Args:
        ask: sends one request and returns who answered; gets the caller's number, from 1, and may raise ClientError.
        people: how many ask at once.
        pause: seconds between two requests of one of them.
    """

    def __init__(self, ask: Callable[[int], str], people: int, pause: float) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []
        self._ask = ask
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(people)]

    @contextmanager
    def calling(self) -> Iterator[Self]:
        """They call inside the block; at its end each has its last answer."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _call(self) -> None:
        turn = 0
        while not self._stop.wait(self._pause):
            turn += 1
            try:
                answered = self._ask(turn)
            except ClientError as error:
                with self._lock:
                    self.errors.append(str(error))
            else:
                with self._lock:
                    self.answers[answered] += 1
