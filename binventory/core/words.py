"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """`1 instance`, `2 instances`, `1,000 photos`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
