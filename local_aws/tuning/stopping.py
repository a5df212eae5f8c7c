"""The rules that stop trials early: the median rule and Hyperband. They know nothing of jobs.

Both judge curves: the objective's values that each trial has printed, one for each epoch, in the order in which the
trials were suggested. Smaller is better; a caller negates an objective that is maximised.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from local_aws.core.protocol import Document

Curves: TypeAlias = Sequence[Sequence[float]]

REDUCTION = 3
"""Hyperband keeps one trial in three at each rung, as its authors propose; on AWS it cannot be set."""
_EPOCH_NAMES = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MOST_EPOCHS = 20_000


class StoppingRule(Protocol):
    """Judges a trial after each value that it prints."""

    def stops(self, trial: int, curves: Curves) -> bool:
        """Whether the trial, by its place in `curves`, should be stopped now."""


@dataclass(frozen=True)
class MedianRule:
    """Early stopping as AWS documents it (`TrainingJobEarlyStoppingType: Auto`).

    A trial is stopped when its newest value is worse than the median of the other trials' running averages up to the
    same epoch.
    """

    def stops(self, trial: int, curves: Curves) -> bool:
        """Compare the trial with all that have reached its epoch."""
        own = curves[trial]
        epoch = len(own)
        averages = [
            statistics.fmean(curve[:epoch])
            for place, curve in enumerate(curves)
            if place != trial and len(curve) >= epoch
        ]
        return bool(averages) and own[-1] > statistics.median(averages)


@dataclass(frozen=True)
class Hyperband:
    """Brackets of successive halving over epochs.

    A bracket with `s` rungs keeps a third of its trials at each rung; the last bracket has no rung and gives every
    trial all epochs. Trials fill the brackets in order, in Hyperband's proportions. SageMaker cannot pause a training
    job, so a rung does not wait for its bracket: a trial is compared with those that have reached the rung before.

    Args:
        least: epochs of every trial.
        most: the greatest number of epochs; more than `least`.
    """

    least: int
    most: int

    @property
    def deepest(self) -> int:
        """The number of rungs of the bracket with the most."""
        # In whole numbers, because a logarithm would lose a rung to rounding.
        rungs = 0
        while self.least * REDUCTION ** (rungs + 1) <= self.most:
            rungs += 1
        return rungs

    def bracket(self, trial: int) -> tuple[int, int]:
        """The number of rungs of a trial's bracket, and the bracket's number among all brackets."""
        number, place = 0, trial
        while True:
            for rungs in range(self.deepest, -1, -1):
                size = math.ceil((self.deepest + 1) / (rungs + 1) * REDUCTION**rungs)
                if place < size:
                    return rungs, number
                place -= size
                number += 1

    def rungs(self, count: int) -> tuple[int, ...]:
        """The epochs at which a bracket with `count` rungs compares its trials."""
        return tuple(max(self.least, round(self.most / REDUCTION ** (count - rung))) for rung in range(count))

    def stops(self, trial: int, curves: Curves) -> bool:
        """Stop a trial at a rung, unless it is among the best third of its bracket there."""
        epoch = len(curves[trial])
        count, number = self.bracket(trial)
        if epoch not in self.rungs(count):
            return False
        reached = [
            curve[epoch - 1]
            for place, curve in enumerate(curves)
            if len(curve) >= epoch and self.bracket(place)[1] == number
        ]
        better = sum(value < curves[trial][epoch - 1] for value in reached)
        return better >= max(1, len(reached) // REDUCTION)

    def is_over(self, curve: Sequence[float]) -> bool:
        """Whether a trial has had all its epochs."""
        return len(curve) >= self.most


def rule_of(config: Document, static: Mapping[str, str]) -> StoppingRule | None:
    """The rule of a tuning job, or None.

    Args:
        config: HyperParameterTuningJobConfig.
        static: StaticHyperParameters of the trials, which may contain the number of epochs.

    Raises:
        ValueError: Hyperband with early stopping, or without a range of epochs.
    """
    early = config.get("TrainingJobEarlyStoppingType", "Off")
    if config["Strategy"] != "Hyperband":
        if "HyperbandStrategyConfig" in config.get("StrategyConfig", {}):
            raise ValueError("HyperbandStrategyConfig can be given with strategy Hyperband only")
        return MedianRule() if early == "Auto" else None
    if early != "Off":
        raise ValueError("TrainingJobEarlyStoppingType must be Off with strategy Hyperband, which stops trials itself")
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    least, most = given.get("MinResource", 1), given.get("MaxResource", _epochs(static))
    if most is None:
        raise ValueError(
            "MaxResource is missing in HyperbandStrategyConfig and cannot be inferred: none of "
            f"{', '.join(_EPOCH_NAMES)} is among the StaticHyperParameters"
        )
    if not 1 <= least < most <= _MOST_EPOCHS:
        raise ValueError(
            f"HyperbandStrategyConfig: MinResource {least} and MaxResource {most} must satisfy "
            f"1 <= MinResource < MaxResource <= {_MOST_EPOCHS}"
        )
    return Hyperband(least, most)


def _epochs(static: Mapping[str, str]) -> int | None:
    for name in _EPOCH_NAMES:
        text = static.get(name, "").strip('"')
        if text.isdigit():
            return int(text)
    return None
