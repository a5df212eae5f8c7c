"""Show the progress of `make setup`: on a terminal one line that is rewritten, elsewhere a line every ten seconds."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

_SECONDS_BETWEEN_LINES = 10.0


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
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\033[K{f'{self._step}  {text}'[:width]}")
            self._stream.flush()
        elif time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._line(f"{self._step}  {text}")

    def note(self, text: str) -> None:
        """Print a line that is not rewritten."""
        self._clear()
        self._line(f"  {text}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()
        if error is None:
            self._line(f"{self._step}: {time.monotonic() - self._begun:.0f} s")

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\033[K")

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
