"""Drift: when photos differ too much from those of the model's evaluation, and what happens then."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.section import Section, wrong_setting
from stacks.vocabulary import CLASSES

# 99.9% quantile of chi-square with four degrees of freedom: five counts. Divided by the photos, it is the population
# stability index that chance alone exceeds once in a thousand measurements.
_CHANCE = 18.47
MOST_MINIMUM_PHOTOS = 10_000
"""Photos of which the drift monitor reads no more in one part of the window: a larger minimum may never be reached."""


class MonitoringSettings(Section):
    """The drift monitor: it compares live counts and confidence with the evaluation of the served model."""

    look_every_minutes: int = Field(default=60, ge=1, le=24 * 60)
    """Interval of the measurements."""
    window_hours: float = Field(default=24, ge=0.05, le=14 * 24)
    """Photos of the last hours that are compared."""
    count_shift_threshold: float = Field(default=0.2, ge=0.05, le=5)
    """Population stability index of the answered counts from which there is drift; 0.1 is commonly called small, 0.25
    large."""
    minimum_photos: int = Field(default=200, ge=30, le=MOST_MINIMUM_PHOTOS)
    """With fewer photos in the window nothing is measured."""
    confidence_shift_threshold: float = Field(default=0.1, gt=0, lt=1)
    """Change of the mean confidence, up or down, from which there is drift."""
    count_shares: dict[int, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Share of the bins by recorded count where the endpoint is used, if it differs from the test split (a balanced
    one, for example): `{1: 0.12, 2: 0.22, 3: 0.26, 4: 0.22, 5: 0.18}`. Empty: that of the test split."""
    retrain: bool = False
    """Start the pipeline when the drift alarm rings. A new model still needs the gate and an approval."""
    retrain_days: float = Field(default=7, ge=0, le=365)
    """Days after the newest execution in which drift starts no other."""

    @field_validator("window_hours")
    @classmethod
    def _check_window(cls, value: float, info: ValidationInfo) -> float:
        minutes = info.data.get("look_every_minutes")
        if minutes is not None and value * 60 < minutes:
            raise wrong_setting(
                "must be at least look_every_minutes ({minutes}): photos between two measurements would be missed",
                minutes=minutes,
            )
        return value

    @field_validator("minimum_photos")
    @classmethod
    def _check_against_chance(cls, value: int, info: ValidationInfo) -> int:
        threshold = info.data.get("count_shift_threshold")
        if threshold is not None and value < _CHANCE / threshold:
            raise wrong_setting(
                "must be at least {least}: with fewer photos chance alone reaches count_shift_threshold ({threshold})",
                least=math.ceil(_CHANCE / threshold),
                threshold=threshold,
            )
        return value

    @field_validator("count_shares")
    @classmethod
    def _add_up(cls, value: dict[int, float]) -> dict[int, float]:
        if unknown := sorted(set(value) - set(CLASSES)):
            raise wrong_setting(
                "must have shares of {first} to {last} items only, the counts of the model, not of {unknown}",
                first=CLASSES[0],
                last=CLASSES[-1],
                unknown=", ".join(map(str, unknown)),
            )
        total = math.fsum(value.values())
        if value and abs(total - 1) > 0.01:
            raise wrong_setting("must add up to 1, they add up to {total}", total=f"{total:.3g}")
        return value
