"""One look for every command: consoles, times, tables, and failures in three lines. Rich respects NO_COLOR itself."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console, ConsoleDimensions
from rich.table import Table

from binventory.cli.volume import volume
from binventory.core.errors import Exit, Problem
from binventory.core.journal import duration as duration
from binventory.core.tools import REPOSITORY

_PIPE_WIDTH = 10_000
_UNKNOWN_WIDTH = 80


class _Console(Console):
    """A console that breaks lines on a terminal only: what reads a pipe or a file wants a row in a line."""

    @property
    def size(self) -> ConsoleDimensions:
        """As the terminal; without one so wide that nothing is broken, unless COLUMNS is set."""
        found = super().size
        if found.width > 0 and (self.is_terminal or "COLUMNS" in os.environ):
            return found
        # With COLUMNS=0, which some programs set where they know no width, rich would print nothing.
        return ConsoleDimensions(_UNKNOWN_WIDTH if self.is_terminal else _PIPE_WIDTH, found.height)

    @size.setter
    def size(self, chosen: tuple[int, int]) -> None:
        self._width, self._height = chosen

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints; without a terminal no line ends in the spaces that fill a table's last column."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        self.file.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


# No text is read as markup or as the name of a picture: most of it comes from people and from AWS.
stdout = _Console(highlight=False, markup=False, emoji=False)
stderr = _Console(stderr=True, highlight=False, markup=False, emoji=False)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def environments() -> list[str]:
    """The environments that have settings."""
    return sorted(path.stem for path in (REPOSITORY / "settings").glob("*.yaml"))


def _environment(name: str) -> str:
    """The only place where commands hold the name of an environment against those that exist."""
    known = environments()
    if name not in known:
        raise Problem(
            f"There is no environment {name}",
            f"it must be one of {', '.join(known)}, which settings/ has",
            flag_instead("--env", name, known),
            code=Exit.USAGE,
        )
    return name


def flag_instead(flag: str, value: str, known: Sequence[str]) -> str:
    """The cure for a flag whose value is none of the known ones."""
    close = difflib.get_close_matches(value, known, n=1)
    return f"did you mean {flag} {close[0]}?" if close else f"choose one: {flag} {known[0]}"


EnvironmentOption = Annotated[
    str,
    typer.Option(
        "--env",
        metavar="NAME",
        help="Environment of the stacks: dev or prod.",
        envvar="BINVENTORY_ENV",
        callback=_environment,
        autocompletion=environments,
    ),
]


def print_problem(problem: Problem) -> None:
    """What, why, what to do; before them the end of the log that explains it."""
    for line in problem.log:
        stderr.print(f"  {line}", style="dim", soft_wrap=True)
    # What AWS and other programs say may have many lines, and so may the name of a file.
    what, why, cure = (" ".join(text.splitlines()) for text in (problem.what, problem.why, problem.cure))
    stderr.print(f"{what}.", style="bold red", soft_wrap=True)
    stderr.print(f"Why: {why}", soft_wrap=True)
    stderr.print(f"Do:  {cure}", soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on a terminal that a command works; nothing with --quiet."""
    if volume.quiet:
        yield
        return
    with stderr.status(text):
        yield


def print_json(value: Any) -> None:
    """JSON on standard output, plain, so that it can be piped."""
    print(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return vars(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table in the common style; the columns in `right` are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


class HasProbabilities(Protocol):
    """An answer with the probability of each count."""

    @property
    def probabilities(self) -> Mapping[int, float]:
        """By count."""


def bars(answer: HasProbabilities) -> str:
    """The probabilities of an answer in one cell: `1 .02  2 .10 ...`."""
    return "  ".join(f"{number} {share:.2f}".replace("0.", ".") for number, share in answer.probabilities.items())
