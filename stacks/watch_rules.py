"""The rules that watch a training: their names, and the text that changes what they do.

Settings and training script read the text with this one function. Packed for the jobs as vocabulary.py is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class WatchRule(StrEnum):
    """What is watched; `training_code/watching/rules.py` has a class for each."""

    VANISHING_GRADIENT = "vanishing-gradient"
    EXPLODING_TENSOR = "exploding-tensor"
    POOR_INITIALISATION = "poor-weight-initialisation"
    OVERFIT = "overfit"
    OVERTRAINING = "overtraining"
    LOSS_NOT_DECREASING = "loss-not-decreasing"
    CLASS_IMBALANCE = "class-imbalance"


class WatchAction(StrEnum):
    """What follows when a rule fires."""

    WARN = "warn"
    STOP = "stop"
    OFF = "off"


class WatchTextError(ValueError):
    """A part of the text cannot be read; the message names it and what is allowed."""


@dataclass(frozen=True)
class WatchChange:
    """What the text asks of one rule."""

    action: WatchAction
    threshold: float | None
    """None: the rule's default."""


def changes_in(text: str) -> dict[WatchRule, WatchChange]:
    """The changes to the default rules that a text asks for.

    Args:
        text: `default` (every rule warns), `off`, or `rule=action[:threshold]`, several separated by commas.

    Raises:
        WatchTextError: a part is something else, or two parts are about one rule.
    """
    if text == "off":
        return {rule: WatchChange(WatchAction.OFF, None) for rule in WatchRule}
    changes: dict[WatchRule, WatchChange] = {}
    for part in text.split(",") if text != "default" else ():
        rule, change = _change(part.strip())
        if rule in changes:
            raise WatchTextError(f"{part.strip()!r} after another part about {rule}: keep one")
        changes[rule] = change
    return changes


def _change(part: str) -> tuple[WatchRule, WatchChange]:
    name, _, rest = part.partition("=")
    action, _, number = rest.partition(":")
    try:
        threshold = float(number) if number else None
        if threshold is not None and (not 0 < threshold < math.inf or action == WatchAction.OFF):
            raise ValueError(number)
        return WatchRule(name), WatchChange(WatchAction(action), threshold)
    except ValueError:
        raise WatchTextError(
            f"{part!r}, which is no rule=action or rule=action:threshold (a number above 0, of a rule that is not "
            f"off); rules: {', '.join(WatchRule)}; actions: {', '.join(WatchAction)}"
        ) from None
