"""The programs that set-up installs beside the interpreter, such as Node."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def search_path() -> str:
    """The PATH of an activated environment, also in a shell that has not activated it."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
