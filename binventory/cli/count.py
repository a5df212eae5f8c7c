"""`binventory count`: photos in, counts out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from binventory import serving
from binventory.aws import connect
from binventory.cli.look import EnvironmentOption, JsonFlag, bars, print_json, stdout, table
from binventory.client import DATASET_HOSTS, FetchPolicy
from binventory.names import Names


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("count", epilog="Example: binventory count bins/*.jpg --json", rich_help_panel="Train and serve")(count)


def count(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="JPEG or PNG files, or https addresses.")],
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Fetch addresses of this host too (.example.com: of its domain)."),
    ] = None,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Counts the items in photos through the endpoint. Addresses are fetched here, never by the endpoint."""
    aws, names = connect(os.environ), Names(env)
    policy = FetchPolicy(allowed_hosts=(*DATASET_HOSTS, *(allow_host or ())))
    answers = {photo: serving.count(aws, names, photo if "://" in photo else Path(photo), policy) for photo in photos}
    if json:
        print_json(answers)
        return
    shown = table("photo", "count", "probabilities", "ms", right=("count", "ms"))
    for name, answer in answers.items():
        shown.add_row(name, str(answer.count), bars(answer), f"{answer.milliseconds:.0f}")
    stdout.print(shown)
