"""The line with which each benchmark ends: what was measured, the goal, and whether it is reached."""

from __future__ import annotations


def claim(name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> bool:
    """Print `claim: NAME VALUE goal GOAL held|missed`, which programs can read too; whether the goal is reached.

    Raises:
        ValueError: Not exactly one goal was given.
    """
    if at_least is not None and at_most is None:
        held, goal = value >= at_least, f">={at_least:g}"
    elif at_most is not None and at_least is None:
        held, goal = value <= at_most, f"<={at_most:g}"
    else:
        raise ValueError(f"{name} has one goal: at_least or at_most")
    print(f"claim: {name} {value:.4g} goal {goal} {'held' if held else 'missed'}", flush=True)
    return held
