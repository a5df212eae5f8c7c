"""Files that a command writes for a person: looked at before any work is done, and never left half written."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from binventory.core.errors import Exit, Problem

_OWN: Final = re.compile(r"/dev/(?P<name>stdout|stderr)|/(?:dev|proc/self)/fd/(?P<number>[0-9]+)")


def check_file(path: Path, flag: str) -> None:
    """Refuses a file that could not be written at the end. Raises Problem; nothing is changed."""
    folder = path.resolve().parent
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
    """Opens a file that is there when the block has ended; what was there before stays when it fails.

    A link keeps its place, and what it leads to is written. `/dev/stdout` is this command's own output.
    """
    if (own := _own_stream(path)) is not None:
        sys.stdout.flush()
        with os.fdopen(os.dup(own), "w", encoding="utf-8") as stream:
            yield stream
        return
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            yield stream
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _own_stream(path: Path) -> int | None:
    """The number of the open stream that a path such as `/dev/stdout` or `/dev/fd/3` names; None for any other.

    Where standard output is a file, that path leads to it, and a new file in its place would be lost.
    """
    named = _OWN.fullmatch(str(path.absolute()))
    if named is None:
        return None
    return int(named["number"]) if named["number"] else {"stdout": 1, "stderr": 2}[named["name"]]


def _refused(path: Path, flag: str, why: str, cure: str) -> Problem:
    return Problem(f"{flag} {path} cannot be written", why, cure, code=Exit.USAGE)
