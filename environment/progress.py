"""Show the progress of `make setup`: on a terminal one line that is rewritten, elsewhere a line every five seconds.

Steps that run at the same time share the line of the terminal.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

_SECONDS_BETWEEN_LINES = 5.0
_LOCK = threading.Lock()
# What each step that runs now shows, in the order in which they started.
_RUNNING: dict[Progress, str] = {}


class Progress:
    """The progress of one step, such as `Python packages  34/96 scipy`; prints the seconds that it took at its end."""

    def __init__(self, step: str, stream: TextIO | None = None) -> None:
        self._step = step
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._begun = self._said = time.monotonic()
        if not self._live:
            self._line(f"{step} ...")

    def show(self, text: str) -> None:
        """Show the current work; `text` replaces what was shown before."""
        if self._live:
            with _LOCK:
                _RUNNING[self] = f"{self._step}  {text}"
                self._rewrite()
        elif time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._line(f"{self._step}  {text}")

    def note(self, text: str) -> None:
        """Print a line that is not rewritten."""
        with _LOCK:
            self._clear()
            self._line(f"  {text}")
            self._rewrite()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _LOCK:
            _RUNNING.pop(self, None)
            self._clear()
            if error is None:
                self._line(f"{self._step}: {time.monotonic() - self._begun:.0f} s")
            self._rewrite()

    def _rewrite(self) -> None:
        """Show what all running steps do on the terminal's line; each gets an equal part of its width."""
        shown = list(_RUNNING.values())
        if self._live and shown:
            width = shutil.get_terminal_size().columns - 1
            part = (width - 2 * (len(shown) - 1)) // len(shown)
            self._stream.write("\r\033[K" + "  ".join(text[:part].ljust(part) for text in shown).rstrip())
            self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\033[K")

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
