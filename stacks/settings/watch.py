"""The text that sets the rules which watch a training, checked as the training script will read it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

RULES = (
    "vanishing-gradient",
    "exploding-tensor",
    "poor-weight-initialisation",
    "overfit",
    "overtraining",
    "loss-not-decreasing",
    "class-imbalance",
)
ACTIONS = ("warn", "stop", "off")
_PART = re.compile(rf"({'|'.join(RULES)})=({'|'.join(ACTIONS)})(?::(\d+(?:\.\d+)?(?:e-?\d+)?))?")


def _known(value: str) -> str:
    for part in () if value in ("default", "off") else value.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None or (found.group(3) is not None and not 0 < float(found.group(3)) < float("inf")):
            raise PydanticCustomError(
                "wrong_setting",
                "has {part}, which is no rule=action or rule=action:threshold (a number above 0); rules: {rules}; "
                "actions: {actions}",
                {"part": repr(part.strip()), "rules": ", ".join(RULES), "actions": ", ".join(ACTIONS)},
            )
    return value


WatchRules = Annotated[str, AfterValidator(_known)]
"""`default`, `off`, or `rule=action[:threshold]` over the defaults, separated by commas."""
