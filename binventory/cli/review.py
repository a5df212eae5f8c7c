"""`binventory review`: stops a deployment that would lose data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from binventory.cli.look import JsonFlag, print_json, stdout
from binventory.core.errors import Exit, Problem
from binventory.deployment.review import losses


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "review",
        epilog="Example: cdk diff --all 2>&1 | binventory review -",
        rich_help_panel="Deploy",
    )(review)


def review(
    diff: Annotated[Path, typer.Argument(metavar="DIFF", help="Output of `cdk diff`; - for standard input.")],
    allow_replacement: Annotated[
        bool, typer.Option("--allow-replacement", help="Show what would be lost, and let it pass.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Finds buckets, keys and registries that a deployment would replace or remove; exits 1 if there are any."""
    found = losses(_read(diff))
    if json:
        print_json(found)
    else:
        for loss in found:
            stdout.print(f"{loss.verdict}: {loss.type} {loss.resource} in {loss.stack}", soft_wrap=True)
    if found and not allow_replacement:
        raise Problem(
            f"{len(found)} stateful resource{'s' * (len(found) > 1)} would be lost",
            ", ".join(f"{loss.resource} ({loss.verdict})" for loss in found),
            "undo the change, or deploy with --allow-replacement (label `allow-replacement` on the pull request)",
            code=Exit.FAILED,
        )
    if not json and not found:
        stdout.print("No stateful resource is replaced or removed.")


def _read(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text()
    except OSError as error:
        raise Problem(
            f"{path} cannot be read",
            error.strerror or str(error),
            "write it: cdk diff 2>&1 | tee cdk.diff",
            code=Exit.USAGE,
        ) from error
