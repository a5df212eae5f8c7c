"""The folder of an audit: it belongs to one audit at a time, and holds what an interrupted one continues from."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from binventory.core.errors import Exit, Problem

LEDGER: Final = "ledger.sqlite"
RECORDS: Final = "records.sqlite"
PREDICTIONS: Final = "predictions.sqlite"
_SPILLS: Final = (RECORDS, PREDICTIONS)
_LEDGER_FILES: Final = (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm")
_ASIDE: Final = ".before"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it until the block ends: a second audit would pay for the same photos again.

    Raises:
        Problem: another audit is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network drives know no locks
            _lock(folder, descriptor)
        if (folder / _ASIDE).is_dir():  # the computer ended while a restart had not begun
            _put_back(folder)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Problem(
            f"Another audit is at work in {folder}",
            "two would ask for the same photos, and each would remove what the other has read",
            "wait until it has ended, or choose another --output",
            code=Exit.USAGE,
        ) from None


@contextlib.contextmanager
def put_aside(folder: Path) -> Iterator[Callable[[], None]]:
    """Puts aside what an earlier run has done, but not the results that it wrote for people.

    Its answers are paid for. The yielded function discards them; where nobody has called it, the end of the block puts
    them back.
    """
    (folder / _ASIDE).mkdir()
    for name in (*_LEDGER_FILES, *_SPILLS):
        if (folder / name).exists():
            (folder / name).replace(folder / _ASIDE / name)
    try:
        yield lambda: shutil.rmtree(folder / _ASIDE)
    finally:
        if (folder / _ASIDE).is_dir():
            _put_back(folder)


def _put_back(folder: Path) -> None:
    for name in (*_LEDGER_FILES, *_SPILLS):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / _ASIDE).iterdir():
        path.replace(folder / path.name)
    (folder / _ASIDE).rmdir()


def tidy(folder: Path) -> None:
    """Removes what only a running audit needs."""
    for name in _SPILLS:
        (folder / name).unlink(missing_ok=True)
