"""The lines with which each benchmark ends: what was measured, the goal, and whether it is reached."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_missed: Final[list[str]] = []


def claim(name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
    """Print `claim: NAME VALUE goal GOAL held|missed`, which programs can read too.

    Args:
        name: one word in small letters, digits and underscores.
        value: what was measured.
        at_least: the goal where more is better.
        at_most: the goal where less is better.

    Raises:
        ValueError: The name is another one, or not exactly one goal was given.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a claim: write small letters, digits and underscores")
    if at_least is not None and at_most is None:
        held, goal = value >= at_least, f">={at_least:g}"
    elif at_most is not None and at_least is None:
        held, goal = value <= at_most, f"<={at_most:g}"
    else:
        raise ValueError(f"{name} has one goal: at_least or at_most")
    if not held:
        _missed.append(name)
    print(f"claim: {name} {value:.4g} goal {goal} {'held' if held else 'missed'}", flush=True)


def exit_status() -> int:
    """The exit status of a benchmark: 1 if one of its claims was missed, else 0."""
    return 1 if _missed else 0
