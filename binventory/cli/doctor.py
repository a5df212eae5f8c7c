"""`binventory doctor`: is everything there that a deploy needs?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, get_args

import typer
from rich.text import Text

from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stdout, table
from binventory.cli.settings import settings_of
from binventory.core.errors import Exit
from binventory.core.tools import REPOSITORY
from binventory.doctor.check import Check
from binventory.doctor.checks import examine

_STYLES = {"good": "green", "missing": "bold red", "unknown": "yellow"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", epilog="Example: binventory doctor --env prod")(doctor)


def doctor(
    env: EnvironmentOption = "dev",
    github: Annotated[
        bool,
        typer.Option(
            "--github",
            help="Look at the repository on GitHub instead: environments, branch rules, reviewers, variables. "
            "Reads with GH_TOKEN, GITHUB_TOKEN or the sign-in of `gh`.",
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Looks at tools, sign-in, bootstrap, stacks, permissions, quotas and billing; exits with 3 when one is missing."""
    checks = list(_on_github(env) if github else examine(REPOSITORY, settings_of(env)))
    if json:
        print_json(checks)
    else:
        shown = table("", "", "found", "what to do")
        for check in checks:
            shown.add_row(Text(check.state, style=_STYLES[check.state]), check.name, check.found, check.cure)
        stdout.print(shown)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(Exit.NOT_READY)


def _on_github(env: str) -> Iterator[Check]:
    from binventory.doctor.github import examine_github
    from stacks.settings import EnvironmentName

    return examine_github(settings_of(env), [settings_of(name) for name in get_args(EnvironmentName)])
