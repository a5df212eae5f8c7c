"""Ways in which a file can be damaged between the step that writes it and the step that reads it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

_BLOCK: Final = 512


def flip(path: Path, draw: random.Random, _others: list[Path]) -> str:
    """One bit."""
    content = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} flipped"


def cut(path: Path, draw: random.Random, _others: list[Path]) -> str:
    """Everything from some byte on."""
    content = path.read_bytes()
    place = draw.randrange(len(content))
    path.write_bytes(content[:place])
    return f"cut at byte {place} of {len(content)}"


def zero(path: Path, draw: random.Random, _others: list[Path]) -> str:
    """One block of a disk."""
    content = bytearray(path.read_bytes())
    start = draw.randrange(0, len(content), _BLOCK)
    content[start : start + _BLOCK] = bytes(len(content[start : start + _BLOCK]))
    path.write_bytes(content)
    return f"block at byte {start} zeroed"


def swap(path: Path, draw: random.Random, others: list[Path]) -> str:
    """The content of two files of a kind; of the only one of its kind, two blocks."""
    kin = [other for other in others if other.suffix == path.suffix and other != path]
    if kin:
        other = draw.choice(kin)
        mine, its = path.read_bytes(), other.read_bytes()
        path.write_bytes(its)
        other.write_bytes(mine)
        return f"swapped with {other.name}"
    content = path.read_bytes()
    path.write_bytes(content[_BLOCK : 2 * _BLOCK] + content[:_BLOCK] + content[2 * _BLOCK :])
    return "the first two blocks swapped"


def remove(path: Path, _draw: random.Random, _others: list[Path]) -> str:
    """The whole file."""
    path.unlink()
    return "removed"
