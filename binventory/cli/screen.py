"""Shows a rehearsal while it runs: a live table on a terminal, one line for each step in a file or pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from binventory.cli.volume import volume
from binventory.core.journal import Entry, Journal, duration

_MARKS = {"waiting": "·", "running": "", "done": "✓", "failed": "✗", "reused": "=", "skipped": "-"}
_STYLES = {
    "waiting": "dim", "running": "bold", "done": "green", "failed": "bold red", "reused": "green", "skipped": "dim",
}  # fmt: skip


Below = Callable[[Console], RenderableType | None]
"""Draws what is shown under the steps on a terminal."""


@contextmanager
def show(journal: Journal, console: Console, below: Below | None = None) -> Iterator[None]:
    """Shows the journal until the block ends."""
    if volume.quiet:
        yield
        return
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(_LiveTable(journal, below), console=console, refresh_per_second=8, transient=False):
            yield
        return
    shown: set[tuple[str, str]] = set()

    def print_change(entry: Entry) -> None:
        if (entry.name, entry.state) not in shown:
            shown.add((entry.name, entry.state))
            console.print(_line(entry, journal.now()), soft_wrap=True)

    journal.on_change = print_change
    yield


def _line(entry: Entry, now: float) -> str:
    indent = "  " * entry.level
    if entry.state == "running":
        return f"{now:6.1f} s  {indent}{entry.name} ..."
    if entry.state == "reused":
        return f"{now:6.1f} s  {indent}{entry.name} {entry.note}"
    took = duration(entry.seconds(now))
    return f"{now:6.1f} s  {indent}{entry.name} {entry.state} after {took}{': ' if entry.note else ''}{entry.note}"


class _LiveTable:
    """Rendered anew at every refresh, from the journal as it is then."""

    def __init__(self, journal: Journal, below: Below | None) -> None:
        self.journal = journal
        self.below = below
        self.spinner = Spinner("dots")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self.journal.now()
        entries = self.journal.snapshot()
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(width=1)
        grid.add_column(no_wrap=True, width=max((len(entry.name) + 2 * entry.level for entry in entries), default=0))
        grid.add_column(justify="right", no_wrap=True, width=6)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for entry in entries:
            style = _STYLES[entry.state]
            mark = self.spinner.render(now) if entry.state == "running" else Text(_MARKS[entry.state], style=style)
            name = Text("  " * entry.level + entry.name, style="" if entry.state == "done" else style)
            grid.add_row(mark, name, duration(entry.seconds(now)), Text(entry.note, style="dim"))
        grid.add_row("", Text("Elapsed", style="dim"), duration(now), "")
        yield grid
        more = self.below(console) if self.below else None
        if more is not None:
            yield more
