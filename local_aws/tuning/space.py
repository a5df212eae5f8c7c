"""A space of hyperparameters, and points in it. It needs no numpy, which only a search does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np

Values: TypeAlias = dict[str, str]
"""A point: the value of each hyperparameter, as the text that a training job gets."""

_AUTO_LOG_RATIO = 100.0  # scaling Auto searches a range of two decades or more by its logarithm


class SearchParameter(Protocol):
    """One axis of the space."""

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int:
        """The number of its coordinates in the unit cube."""

    def sample(self, generator: np.random.Generator) -> str:
        """A value, uniform on the parameter's scale."""

    def encode(self, value: str) -> list[float]:
        """A value as coordinates of the unit cube."""


@dataclass(frozen=True)
class NumberParameter:
    """A continuous or integer range.

    Args:
        name: the hyperparameter.
        low: least value.
        high: greatest value.
        scaling: `Auto`, `Linear`, `Logarithmic` or `ReverseLogarithmic`.
        integer: only whole numbers.
    """

    name: str
    low: float
    high: float
    scaling: str = "Auto"
    integer: bool = False

    @property
    def width(self) -> int:
        return 1

    def sample(self, generator: np.random.Generator) -> str:
        value = self._from_unit(float(generator.random()))
        return str(round(value)) if self.integer else repr(value)

    def encode(self, value: str) -> list[float]:
        low, high = self._scaled(self.low), self._scaled(self.high)
        unit = (self._scaled(float(value)) - low) / (high - low) if high > low else 0.0
        return [min(max(unit, 0.0), 1.0)]

    def _scale(self) -> str:
        if self.scaling != "Auto":
            return self.scaling
        wide = self.low > 0 and self.high / self.low >= _AUTO_LOG_RATIO
        return "Logarithmic" if wide else "Linear"

    def _scaled(self, value: float) -> float:
        """`value` on the scale on which the range is sampled evenly."""
        scale = self._scale()
        if scale == "Logarithmic":
            return math.log(value)
        return -math.log1p(-value) if scale == "ReverseLogarithmic" else value

    def _from_unit(self, unit: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + unit * (high - low)
        scale = self._scale()
        if scale == "Logarithmic":
            value = math.exp(scaled)
        else:
            value = -math.expm1(-scaled) if scale == "ReverseLogarithmic" else scaled
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class CategoricalParameter:
    """A choice between values without order."""

    name: str
    choices: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.choices)

    def sample(self, generator: np.random.Generator) -> str:
        return self.choices[int(generator.integers(len(self.choices)))]

    def encode(self, value: str) -> list[float]:
        return [1.0 if value == choice else 0.0 for choice in self.choices]


Space: TypeAlias = Sequence[SearchParameter]


@dataclass(frozen=True)
class TriedPoint:
    """A point that was tried; `loss` (smaller is better) is None while it runs or when it has none."""

    values: Values
    loss: float | None
