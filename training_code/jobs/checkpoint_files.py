"""The files of checkpoints: their names, which say step and digest, and how many are kept. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

KEPT: Final = 2
"""Checkpoints of one run that are kept: the newest, and the one before in case the newest is torn."""

_NAME: Final = re.compile(r"step-(\d{10})-([0-9a-f]{16})\.safetensors")


def name_of(step: int, data: bytes) -> str:
    """The name of the file for the checkpoint of a step."""
    return f"step-{step:010d}-{_digest(data)}.safetensors"


def is_checkpoint(name: str) -> bool:
    """Whether a finished file with this name is a checkpoint."""
    return _NAME.fullmatch(name) is not None


def whole(path: Path) -> bytes | None:
    """The bytes of a checkpoint; None if they are not those that its name says."""
    match, data = _NAME.fullmatch(path.name), path.read_bytes()
    return data if match is not None and match.group(2) == _digest(data) else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
