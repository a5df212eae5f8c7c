"""The bar of a command that works on many photos: how many, how fast, how long it still takes."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from binventory.cli.look import stderr
from binventory.cli.volume import volume


class RateColumn(ProgressColumn):
    """Photos a second, over the last half minute; empty before it is known."""

    def render(self, task: Task) -> Text:
        """The cell."""
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")


def progress_bar() -> Progress:
    """Shown on a terminal only, on standard error, and gone at the end; not with --quiet."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    return Progress(*columns, console=stderr, transient=True, disable=volume.quiet or not stderr.is_terminal)
