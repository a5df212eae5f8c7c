"""A folder for rendered photos: new, empty, or rendered before; never one with files of somebody else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from binventory.core.errors import Exit, Problem
from binventory.render.bucket import ids_of

MARK: Final = ".rendered.json"
"""The file that says that the photos of a folder were drawn, and how many ids."""
WRONG: Final = "wrong.csv"
_SHOWN: Final = 3


def is_rendered(folder: Path) -> bool:
    """Whether the photos of a folder were drawn by `binventory render`."""
    return _photos_of(folder) is not None


def claim(folder: Path, photos: int) -> None:
    """Makes a folder ready for `photos` drawn ids: an earlier rendering in it is removed.

    Raises:
        Problem: there are files in it that no rendering has written. Nothing is changed.
    """
    before = _photos_of(folder)
    ours = set() if before is None else _written_by(before)
    others = [name for name in _files(folder) if name not in ours]
    if others:
        shown = ", ".join(sorted(others)[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        raise Problem(
            f"{folder} holds files that were not rendered",
            f"there is {shown}, and photos and records are written over what is there",
            "name a new or an empty folder",
            code=Exit.USAGE,
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(ours - {MARK}):
        (folder / name).unlink(missing_ok=True)
    # First, so that a rendering that was interrupted can be started again.
    (folder / MARK).write_text(json.dumps({"photos": photos}) + "\n", encoding="utf-8")


def _photos_of(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / MARK).read_text(encoding="utf-8"))["photos"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _written_by(photos: int) -> set[str]:
    names = {MARK, WRONG}
    for image_id in ids_of(photos):
        names |= {f"bin-images/{image_id}.jpg", f"metadata/{image_id}.json"}
    return names


def _files(folder: Path) -> Iterator[str]:
    """Every file below a folder; links and what they lead to count as files."""
    for place, folders, names in os.walk(folder):
        linked = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name).relative_to(folder).as_posix() for name in (*names, *linked))
