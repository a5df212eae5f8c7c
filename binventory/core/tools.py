"""The checkout that commands run from, and the programs that set-up installs for it, such as Node."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent


def search_path() -> str:
    """The PATH of an activated environment, also in a shell that has not activated it."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
