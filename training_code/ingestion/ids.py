"""Bin ids: which are allowed, which block each belongs to, and the seeded order everything is taken in.

Ids are names, not numbers: `1234` and `01234` are two photos and neither is padded into the other. They share a block,
so they can never stand in two splits.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TRAILING_DIGITS: Final = re.compile(r"[0-9]+$")


def is_bin_id(text: str) -> bool:
    """Whether the text may be used as an id: letters, digits, `-`, `_`; no dots or slashes, at most 64 characters."""
    return _ID.fullmatch(text) is not None


def block_of(bin_id: str, block_size: int) -> str:
    """The name of the block of neighbouring ids that this one belongs to; an id without digits is its own block."""
    digits = _TRAILING_DIGITS.search(bin_id)
    if digits is None:
        return bin_id
    return f"{bin_id[: digits.start()]}{int(digits.group()) // block_size}"


def draw(seed: int, kind: str, name: str) -> int:
    """A number in 0..2**64-1 that looks random and depends on nothing but its arguments."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{kind}:{name}".encode(), digest_size=8).digest(), "big")
