"""The locks that `make lock` writes: pins with their hashes, as pip reads them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

RUN = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"
TORCH_CPU = "requirements-torch-cpu.txt"
TORCH_PYPI = "requirements-torch.txt"
PYTHON_LOCKS = (RUN, DEVELOPMENT, TORCH_CPU, TORCH_PYPI)
NODE_LOCK = "package-lock.json"
PROJECT = "pyproject.toml"

_PIN = re.compile(r"^(?P<name>[\w.-]+)={2,3}(?P<version>[^\s;\\]+)[^\n]*(?:\n[ ]+--hash=[^\n]*)*", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """One package of a lock. `text` is its whole entry: version, marker and hashes."""

    name: str
    version: str
    text: str


def pins(lock: Path) -> dict[str, Pin]:
    """A lock's packages by normalised name; the first where a marker chooses between several."""
    found: dict[str, Pin] = {}
    for match in _PIN.finditer(lock.read_text(encoding="utf-8")):
        name = normalised(match["name"])
        found.setdefault(name, Pin(name, match["version"], match[0]))
    return found


def normalised(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(path: Path) -> str:
    """SHA-256 of a file; empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
