"""Files that a command writes for a person: looked at before any work is done, and never left half written."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from binventory.core.errors import Exit, Problem


def check_file(path: Path, flag: str) -> None:
    """Refuses a file that could not be written at the end. Raises Problem; nothing is changed."""
    folder = path.absolute().parent
    if path.is_dir():
        raise _refused(path, flag, "it is a folder", "name a file")
    if not folder.is_dir():
        cure = f"make it (mkdir -p {shlex.quote(str(folder))}), or name another place"
        raise _refused(path, flag, f"there is no folder {folder}", cure)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise _refused(path, flag, f"{path if path.exists() else folder} may not be written", "name another place")


def check_folder(path: Path, flag: str) -> None:
    """Refuses a folder that could not be made or written. Raises Problem; nothing is changed."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise _refused(path, flag, f"{there} is a file", "name another folder")
    if not os.access(there, os.W_OK):
        raise _refused(path, flag, f"{there} may not be written", "name another folder")


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or none, as `writing` does."""
    with writing(path) as stream:
        stream.write(text)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """Opens a file that is there when the block has ended; what was there before stays when it fails."""
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            yield stream
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _refused(path: Path, flag: str, why: str, cure: str) -> Problem:
    return Problem(f"{flag} {path} cannot be written", why, cure, code=Exit.USAGE)
