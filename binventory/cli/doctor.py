"""`binventory doctor`: is everything there that a deploy needs?"""

from __future__ import annotations

from pathlib import Path

import typer

from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stdout, table
from binventory.core.errors import Exit
from binventory.core.names import Names
from binventory.doctor.checks import examine
from stacks.settings import load

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_STYLES = {"good": "green", "missing": "bold red", "unknown": "yellow"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", epilog="Example: binventory doctor --env prod", rich_help_panel="Deploy")(doctor)


def doctor(env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Looks at tools, sign-in, bootstrap, stacks, permissions and quotas; exits with 3 when something is missing."""
    checks = list(examine(_REPOSITORY, Names(env), _instances(env)))
    if json:
        print_json(checks)
    else:
        shown = table("", "", "found", "what to do")
        for check in checks:
            shown.add_row(f"[{_STYLES[check.state]}]{check.state}[/]", check.name, check.found, check.cure)
        stdout.print(shown)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(Exit.NOT_READY)


def _instances(env: str) -> dict[str, set[str]]:
    """The instance types that the settings use, by the name of their quota."""
    settings = load(env)
    train = {settings.embed.instance_type: settings.embed.spot, settings.training.instance_type: settings.training.spot}
    return {
        "processing job usage": {settings.ingest.instance_type, settings.evaluation.instance_type},
        "training job usage": {instance for instance, spot in train.items() if not spot},
        "spot training job usage": {instance for instance, spot in train.items() if spot},
        "endpoint usage": {settings.serving.instance_type},
        "transform job usage": {settings.batch.instance_type},
    }
