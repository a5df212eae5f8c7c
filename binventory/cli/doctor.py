"""`binventory doctor`: is everything there that a deploy needs?"""

from __future__ import annotations

from pathlib import Path

import typer

from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stdout, table
from binventory.cli.settings import settings_of
from binventory.core.errors import Exit
from binventory.doctor.checks import examine

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_STYLES = {"good": "green", "missing": "bold red", "unknown": "yellow"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", epilog="Example: binventory doctor --env prod", rich_help_panel="Deploy")(doctor)


def doctor(env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Looks at tools, sign-in, bootstrap, stacks, permissions, quotas and billing; exits with 3 when one is missing."""
    checks = list(examine(_REPOSITORY, settings_of(env)))
    if json:
        print_json(checks)
    else:
        shown = table("", "", "found", "what to do")
        for check in checks:
            shown.add_row(f"[{_STYLES[check.state]}]{check.state}[/]", check.name, check.found, check.cure)
        stdout.print(shown)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(Exit.NOT_READY)
