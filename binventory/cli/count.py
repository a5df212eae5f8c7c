"""`binventory count`: photos in, counts out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from binventory import serving
from binventory.aws import connect
from binventory.cli.look import EnvironmentOption, JsonFlag, bars, print_json, stdout, table
from binventory.errors import Exit, Problem
from binventory.names import Names

_CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("count", epilog="Example: binventory count bins/*.jpg --json", rich_help_panel="Train and serve")(count)


def count(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="JPEG or PNG files.")],
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Counts the items in photos through the endpoint."""
    contents = [(path, *read_photo(path)) for path in photos]
    aws, names = connect(os.environ), Names(env)
    answers = {str(path): serving.count(aws, names, content, kind) for path, content, kind in contents}
    if json:
        print_json(answers)
        return
    shown = table("photo", "count", "probabilities", "ms", right=("count", "ms"))
    for name, answer in answers.items():
        shown.add_row(name, str(answer.count), bars(answer), f"{answer.milliseconds:.0f}")
    stdout.print(shown)


def read_photo(path: Path) -> tuple[bytes, str]:
    """The bytes of a photo and their content type."""
    kind = _CONTENT_TYPES.get(path.suffix.lower())
    if kind is None:
        raise Problem(
            f"{path} is not a photo",
            f"its name ends in {path.suffix or 'nothing'}",
            "send files that end in .jpg, .jpeg or .png",
            code=Exit.USAGE,
        )
    try:
        return path.read_bytes(), kind
    except OSError as error:
        raise Problem(
            f"{path} was not read", error.strerror or str(error), "check the name", code=Exit.USAGE
        ) from error
