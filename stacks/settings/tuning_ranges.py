"""Which hyperparameters of the training a search may vary besides learning rate and batch size, and their ranges."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Tunable = Literal[
    "average",
    "clip",
    "dropout",
    "features",
    "head",
    "head_rate",
    "label_smoothing",
    "optimiser",
    "schedule",
    "squared_error",
    "warm_up_epochs",
    "weight_decay",
]
"""Hyperparameters of the training that a search may vary, by their flags' names."""


class TuningRange(BaseModel):
    """The values that a search tries for one hyperparameter of the training: `values`, or `min` to `max`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min: float | None = None
    """Least value that is tried."""
    max: float | None = None
    """Largest value that is tried."""
    scale: Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"] = "Auto"
    """The scale on which the range is searched evenly."""
    values: tuple[str, ...] = Field(default=(), max_length=30)
    """The values themselves, where they are words."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> TuningRange:
        ends = self.min is not None and self.max is not None and self.min < self.max
        listed = len(set(self.values)) == len(self.values) > 0
        if (ends and self.values) or not (ends or (listed and self.min is None and self.max is None)):
            raise PydanticCustomError("wrong_setting", "must have either min below max, or distinct values")
        return self
