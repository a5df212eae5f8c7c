"""The error that ends `make setup`, with its cure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FULL_DISK: Final = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded|EDQUOT")
"""How pip, npm and Python say that nothing more can be written."""
FREE_DISK: Final = "free some disk space (2 GB; TMPDIR names the folder for downloads), then run make again"


class SetupError(Exception):
    """`make setup` cannot continue. `what` failed; `cure` says what to do."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what = what
        self.cure = cure


def of_system(error: OSError, root: Path) -> SetupError:
    """What the system refused in the checkout `root`, with its cure: to write on a full disk, or to write at all."""
    if FULL_DISK.search(str(error)):
        return SetupError(str(error), FREE_DISK)
    what = f"{error.filename or root}: {error.strerror or error}"
    return SetupError(what, "make this checkout writable and its disk roomy, then run make again")
