"""The launch screen: the choice, its price, a question. Every command that bills shows the same one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from binventory.cli.look import print_json, stderr, stdout, table
from binventory.cli.volume import volume
from binventory.core.errors import Exit, Problem
from binventory.cost.amounts import money_or_unknown
from binventory.cost.launch import Launch

YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Start without asking; the price is shown all the same.")]

DryRunFlag = Annotated[
    bool, typer.Option("--dry-run", help="Check everything and show the price; start nothing, exit with 0.")
]

TimeoutOption = Annotated[
    float | None, typer.Option(min=1, help="Seconds to wait. Default: what the deployed stack may take.")
]


def confirm(launch: Launch, *, yes: bool, json: bool = False, dry_run: bool = False) -> None:
    """Shows the price and asks whether to start; returns when the answer is yes.

    Args:
        launch: what is about to be started.
        yes: the person has said so already.
        json: standard output is for JSON, so the screen is shown on standard error.
        dry_run: show it and ask nothing; with `json`, as JSON.

    Raises:
        Problem: there is no terminal on which to ask.
        typer.Exit: the answer was no, or nothing was to be started.
    """
    if dry_run:
        if json:
            print_json({"launch": launch.to_json(), "started": False})
        else:
            show_launch(launch, stdout)
            stdout.print("Nothing was started: --dry-run.")
        raise typer.Exit(Exit.OK)
    console = stderr if json else stdout
    if not (json and yes):
        show_launch(launch, console)
    if yes:
        return
    if not _somebody_is_there():
        raise Problem(
            "Nothing was started",
            "it costs money, and there is no terminal on which to ask",
            "say so beforehand: --yes",
            code=Exit.USAGE,
        )
    if not _says_yes(console):
        stderr.print("Nothing was started.")
        raise typer.Exit(Exit.INTERRUPTED)


def show_launch(launch: Launch, console: Console) -> None:
    """The table, its totals and its notes."""
    numbers = ("expected", "at worst")
    console.print(launch.title, style="bold", soft_wrap=True)
    shown = table("", "choice", "limit", *numbers, right=numbers)
    for charge in launch.charges:
        shown.add_row(
            charge.name, charge.choice, charge.limit, money_or_unknown(charge.expected), money_or_unknown(charge.worst)
        )
    if len(launch.charges) != 1 or launch.period != "once":
        name = "In all" if launch.period == "once" else f"In all, {launch.period}"
        shown.add_row(name, "", "", money_or_unknown(launch.expected), money_or_unknown(launch.worst), style="bold")
    console.print(shown)
    for note in launch.notes:
        console.print(note, style="dim")
    console.print()


def show_next(launch: Launch, console: Console) -> None:
    """The commands that are useful once it has been started."""
    if not launch.next_commands or volume.quiet:
        return
    shown = table("Useful commands", "")
    for purpose, command in launch.next_commands:
        shown.add_row(purpose, command)
    console.print(shown)
    console.print()


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _says_yes(console: Console) -> bool:
    """Asks on the console itself: click's own question leaves a blank on standard output, where JSON goes."""
    console.print("Start it? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
