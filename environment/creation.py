"""Create a virtual environment with the pip that comes with Python, in a fraction of a second."""

from __future__ import annotations

import subprocess
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

from environment.errors import FREE_DISK, FULL_DISK, SetupError


def create(place: Path, interpreter: str) -> None:
    """Create the environment at `place` from `interpreter`, of this Python's version, with a pip that works.

    Python's own way, ensurepip, lets pip install itself out of an archive and compiles all of it, for several seconds.
    The locked pip replaces it at once. So its wheel is only unpacked here; ensurepip does it where there is no wheel.

    Raises SetupError where the interpreter has no venv module.
    """
    _made([interpreter, "-m", "venv", "--without-pip", str(place)], place)
    python = place / "bin" / "python"
    for wheel in _wheels():
        for packages in place.glob("lib/python3*/site-packages"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(packages)
        if _starts(python):
            return
    _made([interpreter, "-m", "venv", "--clear", str(place)], place)


def _wheels() -> Iterator[Path]:
    """The wheels of pip that this Python keeps for ensurepip: beside it, or where the system's packages put them."""
    folders = [Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled"]
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(elsewhere))
    for folder in folders:
        yield from folder.glob("pip-*-py3-none-any.whl")


def _starts(python: Path) -> bool:
    tried = subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False)
    return tried.returncode == 0


def _made(command: list[str], place: Path) -> None:
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        said = (made.stdout + made.stderr).strip()
        raise SetupError(
            f"{place} could not be created:\n{said}",
            FREE_DISK
            if FULL_DISK.search(said)
            else "install Python's venv module (Debian: apt install python3-venv), or choose another Python: "
            "make PYTHON=python3.12 setup",
        )
