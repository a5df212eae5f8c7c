"""The stamp of an environment: what it was made from. `make` compares it to find out whether the environment fits."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from environment.locks import DEVELOPMENT, NODE_LOCK, PROJECT, PYTHON_LOCKS, digest

NAME = ".ready"


@dataclass(frozen=True)
class Stamp:
    """The folder of an environment and what it was made from. Digests are SHA-256, `locks` has them by file name."""

    place: str
    interpreter: str
    python: str
    locks: dict[str, str]
    node: str
    project: str
    development: bool
    torch: str = "auto"
    remark: str = ""

    @classmethod
    def wanted(cls, root: Path, *, development: bool, torch: str = "auto", remark: str = "") -> Stamp:
        """The stamp that an environment would get now; `torch` is the chosen source of PyTorch."""
        return cls(
            place=str((root / ".venv").resolve()),
            interpreter=os.path.realpath(base_interpreter()),
            python=".".join(str(part) for part in sys.version_info[:2]),
            locks={name: digest(root / name) for name in PYTHON_LOCKS},
            node=digest(root / NODE_LOCK),
            project=digest(root / PROJECT),
            development=development,
            torch=torch,
            remark=remark,
        )

    @classmethod
    def read(cls, place: Path) -> Stamp | None:
        """The stamp of an environment; None if it has no readable one."""
        try:
            return cls(**json.loads((place / NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, place: Path) -> None:
        """Write the stamp into the environment."""
        (place / NAME).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def base_interpreter() -> str:
    """The interpreter to create environments with: this one or, inside an environment, the one that created it."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def why_rebuild(place: Path, wanted: Stamp, *, named: bool) -> str:
    """Why the environment must be created again; empty if it can be kept.

    Another version of the interpreter is a reason only if the user chose it, or if the environment's is gone.
    """
    found = Stamp.read(place)
    if found is None:
        return "its set-up was interrupted, or an older `make setup` made it"
    if found.place != wanted.place:
        return f"it was made for {found.place}"
    interpreter = place / "bin" / "python"
    if not interpreter.exists() or os.path.realpath(interpreter) != found.interpreter:
        return f"its interpreter {found.interpreter} is gone"
    if named and found.python != wanted.python:
        return f"it was made by Python {found.python}, and {wanted.python} is asked for"
    if wanted.torch not in ("auto", found.torch):
        return f"its PyTorch was installed with TORCH={found.torch}, and TORCH={wanted.torch} is asked for"
    needed = [name for name in PYTHON_LOCKS if found.development or name != DEVELOPMENT]
    changed = [name for name in needed if found.locks.get(name) != wanted.locks[name]]
    return f"{' and '.join(changed)} changed" if changed else ""
