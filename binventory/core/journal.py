"""The steps of a long command so far, with their times and notes, to be shown or stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

State = Literal["waiting", "running", "done", "failed", "reused", "skipped"]


@dataclass
class Entry:
    """One step. Times are seconds since the command began."""

    name: str
    level: int = 0  # 1 for a step inside another
    state: State = "waiting"
    note: str = ""
    started: float | None = None
    ended: float | None = None

    def seconds(self, now: float) -> float | None:
        """How long it took, or has taken until `now`; None before it starts, and for what was reused."""
        if self.started is None or self.state == "reused":
            return None
        return (self.ended if self.ended is not None else now) - self.started


@dataclass
class Journal:
    """The steps in order. Each is written by the thread that does it, all are read by the one that draws."""

    on_change: Callable[[Entry], None] = lambda entry: None
    entries: list[Entry] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began

    def snapshot(self) -> list[Entry]:
        """The steps as they are now; safe to iterate while others are added."""
        with self._lock:
            return list(self.entries)

    def plan(self, *names: str, level: int = 0) -> None:
        """Announces steps that are still to come."""
        with self._lock:
            self.entries.extend(Entry(name, level) for name in names)

    def entry(self, name: str, level: int = 0) -> Entry:
        """The step with this name; added at the end when it was not planned."""
        with self._lock:
            found = next((entry for entry in self.entries if entry.name == name), None)
            if found is None:
                found = Entry(name, level)
                self.entries.append(found)
            return found

    @contextmanager
    def step(self, name: str) -> Iterator[Entry]:
        """Runs a step: its state follows from how the block ends."""
        entry = self.entry(name)
        self.begin(entry)
        try:
            yield entry
        except BaseException:
            self.end(entry, "failed")
            raise
        self.end(entry, "done")

    def begin(self, entry: Entry) -> None:
        """Marks a step as running."""
        entry.started, entry.state = self.now(), "running"
        self.on_change(entry)

    def end(self, entry: Entry, state: State) -> None:
        """Marks a step as ended."""
        entry.ended, entry.state = self.now(), state
        self.on_change(entry)

    def note(self, entry: Entry, note: str) -> None:
        """Notes what a step is doing, or its result."""
        if note != entry.note:
            entry.note = note
            self.on_change(entry)

    def skip_waiting(self) -> None:
        """Marks the steps that will not run any more."""
        for entry in self.snapshot():
            if entry.state == "waiting":
                entry.state = "skipped"


def duration(seconds: float | None) -> str:
    """A time for people: 0.4 s, 12 s, 3:05, 2:05:00; empty for none."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 100 else f"{minutes}:{rest:02d}"
