"""Which hyperparameters of the training a search may vary besides learning rate and batch size, and their ranges."""

from __future__ import annotations

import math
from typing import Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stacks.settings.section import wrong_setting

Tunable = Literal[
    "average",
    "clip",
    "dropout",
    "features",
    "head",
    "head_rate",
    "label_smoothing",
    "loss",
    "optimiser",
    "schedule",
    "squared_error",
    "warm_up_epochs",
    "weight_decay",
]
"""Hyperparameters of the training that a search may vary, by their flags' names."""

WORDS: Final[dict[Tunable, tuple[str, ...]]] = {
    "features": ("stages", "last"),
    "head": ("ordered", "softmax"),
    "loss": ("cross-entropy", "ordinal", "expected-count"),
    "optimiser": ("sgd", "adamw"),
    "schedule": ("cosine", "constant"),
}
"""What `train.py` takes where it takes words."""
NUMBERS: Final[dict[Tunable, tuple[float, float]]] = {
    "average": (0, 0.9999),
    "clip": (0, 1e6),
    "dropout": (0, 0.95),
    "head_rate": (0.01, 100),
    "label_smoothing": (0, 0.9),
    "squared_error": (0, 10),
    "warm_up_epochs": (0, 1000),
    "weight_decay": (0, 10),
}
"""The least and the largest number that `train.py` takes."""


class TuningRange(BaseModel):
    """The values that a search tries for one hyperparameter of the training: `values`, or `min` to `max`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min: float | None = None
    """Least value that is tried."""
    max: float | None = None
    """Largest value that is tried."""
    scale: Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"] = "Auto"
    """The scale on which the range from min to max is searched evenly."""
    values: tuple[str, ...] = Field(default=(), max_length=30)
    """The values themselves, where they are words."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> TuningRange:
        ends = self.min is not None and self.max is not None and self.min < self.max
        listed = len(set(self.values)) == len(self.values) > 0 and self.scale == "Auto"
        if (ends and self.values) or not (ends or (listed and self.min is None and self.max is None)):
            raise wrong_setting("must have either min below max, or distinct values without a scale")
        return self


def check_range(name: Tunable, found: TuningRange) -> None:
    """Raises PydanticCustomError where the search could try a value that the training refuses, or none."""

    def refuse(allowed: str) -> NoReturn:
        given = found.model_dump(exclude_defaults=True)
        raise wrong_setting("must {allowed}", field=f"tuning.ranges.{name}", value=given, allowed=allowed)

    if name in WORDS:
        if not found.values or set(found.values) - set(WORDS[name]):
            refuse(f"list values out of {', '.join(WORDS[name])}")
        return
    low, high = NUMBERS[name]
    if not all(low <= number <= high for number in _numbers(found)):
        refuse(f"have numbers from {low:g} to {high:g}")
    if found.scale == "Logarithmic" and found.min == 0:
        refuse("have a min above 0 on a logarithmic scale")
    if found.scale == "ReverseLogarithmic" and found.max is not None and found.max >= 1:
        refuse("have a max below 1 on a reverse logarithmic scale")


def _numbers(found: TuningRange) -> list[float]:
    """The numbers that are tried, or the ends between which they lie; what is no number is NaN."""
    try:
        return [float(value) for value in found.values or (found.min, found.max) if value is not None]
    except ValueError:
        return [math.nan]
