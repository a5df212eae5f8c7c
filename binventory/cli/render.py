"""`binventory render`: bin photos without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from binventory.cli.look import JsonFlag, print_json, stdout
from binventory.cli.progress import progress_bar
from binventory.core.outputs import check_folder
from binventory.core.words import counted


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("render", epilog="Example: binventory render /tmp/bins --photos 1000")(render)


def render(
    folder: Annotated[Path, typer.Argument(help="Where bin-images/ and metadata/ are written.")],
    photos: Annotated[int, typer.Option(min=1, max=99_999, help="How many ids.")] = 300,
    wrong_records: Annotated[
        float, typer.Option(min=0, max=1, help="Share of records made wrong, for an audit to find.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Renders bin photos and their records, laid out like the public bucket, with some defects on purpose."""
    from binventory.render import render_bucket
    from binventory.render.claim import WRONG, claim

    check_folder(folder, "DIR")
    claim(folder, photos)
    with progress_bar() as shown:
        task = shown.add_task("Rendering", total=photos)
        bucket = render_bucket(
            folder,
            photos=photos,
            seed=seed,
            wrong_records=wrong_records,
            say=lambda done: shown.update(task, completed=done),
        )
    if bucket.wrong:
        rows = "".join(f"{image_id},{count}\n" for image_id, count in bucket.wrong.items())
        (folder / WRONG).write_text("image_id,count\n" + rows)
    if json:
        print_json({"folder": folder, "counts": bucket.counts, "defects": bucket.defects, "wrong": bucket.wrong})
        return
    if bucket.wrong:
        wrong = counted(len(bucket.wrong), "record")
        stdout.print(f"{wrong} made wrong: {folder}/{WRONG} says what is there", soft_wrap=True)
    defects = counted(len(bucket.defects), "id")
    stdout.print(f"{counted(len(bucket.counts), 'bin')} and {defects} with a defect in {folder}", soft_wrap=True)
