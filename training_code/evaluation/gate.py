"""Whether a challenger may be registered: good enough, and not worse than what serves today.

"Not worse" is a non-inferiority test on the same photos: the lower end of the paired difference in accuracy must not be
below minus the margin. A challenger that is better by chance only has an interval that reaches below it, and is refused
as a worse one is. Photos of fewer than five blocks of ids show nothing about chance: there is no bound then, and the
difference itself must not be below minus the margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import REPLICATES, least_blocks, replicate_metrics, tail
from evaluation.count_metrics import Predictions, confusion_matrix, is_above, measure


@dataclass(frozen=True)
class GateSettings:
    """Conditions that a challenger must meet."""

    accuracy_threshold: float
    """Least accuracy on the test split, 0 to 1."""
    margin: float = 0.01
    """How much worse than the champion, in accuracy, is still "not worse", 0 to 1."""
    confidence: float = 0.95
    """One-sided confidence with which it must be shown, above 0.5 and below 1."""
    replicates: int = REPLICATES
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy_threshold <= 1:
            raise ValueError(f"accuracy_threshold must be between 0 and 1, got {self.accuracy_threshold}")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin must be between 0 and 1, got {self.margin}")
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence must be above 0.5 and below 1, got {self.confidence}")


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion on the same photos."""

    champion_accuracy: float
    accuracy_difference: float
    lower_bound: float
    """One-sided lower confidence bound of the difference in accuracy; NaN where too few blocks state none."""
    rmse_difference: float
    probability_better: float
    """Share of replicates in which the challenger's accuracy is higher; NaN without a bound."""

    @property
    def decides(self) -> float:
        """What must not be below minus the margin: the bound, or the difference where there is none."""
        return self.lower_bound if math.isfinite(self.lower_bound) else self.accuracy_difference


@dataclass(frozen=True)
class GateDecision:
    """The verdict, with the reasons of a refusal."""

    accuracy: float
    accuracy_threshold: float
    margin: float
    above_threshold: bool
    not_worse_than_champion: bool
    """Also true without a champion: the first model needs the threshold only."""
    comparison: Comparison | None
    not_compared: str
    """Why the champion was not compared, so that the threshold alone decides; empty where there is none, or it was."""
    no_bound: str
    """Why no bound can be stated, so that the difference itself decides; empty where there is one, or no champion."""
    reasons: tuple[str, ...]
    """One sentence for each failed condition; empty when the challenger passes."""
    where_to_look: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the challenger may be registered."""
        return self.above_threshold and self.not_worse_than_champion


def decide(
    challenger: Predictions, champion: Predictions | None, settings: GateSettings, not_compared: str = ""
) -> GateDecision:
    """Judge `challenger` by its threshold and, on the same photos, against `champion` (None: nothing serves yet).

    not_compared: why a champion has no answers; the threshold decides alone then, and the verdict says so.

    Raises ValueError when the two were not measured on the same photos.
    """
    accuracy = float(measure(challenger).accuracy)
    above = accuracy >= settings.accuracy_threshold
    comparison = None if champion is None else compare(challenger, champion, settings)
    not_worse = comparison is None or not is_above(-comparison.decides, settings.margin)
    no_bound = "" if comparison is None or math.isfinite(comparison.lower_bound) else _no_bound(challenger, settings)
    reasons = []
    if not above:
        reasons.append(
            f"accuracy {accuracy:.4f} is {settings.accuracy_threshold - accuracy:.4f} below the threshold "
            f"{settings.accuracy_threshold:.4f}"
        )
    if comparison is not None and not not_worse:
        reasons.append(
            f"{_below(accuracy, comparison)}, and the margin {settings.margin:.4f} allows no more; {no_bound}"
            if no_bound
            else _worse_than_champion(accuracy, comparison, settings)
        )
    return GateDecision(
        accuracy=accuracy,
        accuracy_threshold=settings.accuracy_threshold,
        margin=settings.margin,
        above_threshold=above,
        not_worse_than_champion=not_worse,
        comparison=comparison,
        not_compared=not_compared,
        no_bound=no_bound,
        reasons=tuple(reasons),
        where_to_look=_where_to_look(challenger, champion) if reasons else (),
    )


def compare(challenger: Predictions, champion: Predictions, settings: GateSettings) -> Comparison:
    """The paired difference, with blocks of ids drawn together for both models."""
    _require_same_photos(challenger, champion)
    ours, theirs = measure(challenger), measure(champion)
    our_draws = replicate_metrics(challenger, replicates=settings.replicates, seed=settings.seed).accuracy
    their_draws = replicate_metrics(champion, replicates=settings.replicates, seed=settings.seed).accuracy
    difference = our_draws - their_draws
    blocks = _blocks(challenger)
    stated = blocks >= least_blocks(settings.confidence)
    return Comparison(
        champion_accuracy=float(theirs.accuracy),
        accuracy_difference=float(ours.accuracy - theirs.accuracy),
        lower_bound=float(np.quantile(difference, tail(1 - settings.confidence, blocks))) if stated else math.nan,
        rmse_difference=float(ours.rmse - theirs.rmse),
        probability_better=float((difference > 0).mean()) if stated else math.nan,
    )


def _blocks(predictions: Predictions) -> int:
    return len(np.unique(predictions.blocks))


def _no_bound(predictions: Predictions, settings: GateSettings) -> str:
    found, least = _blocks(predictions), least_blocks(settings.confidence)
    return (
        f"the test photos are of {found} {'block' if found == 1 else 'blocks'} of ids and a {settings.confidence:.0%} "
        f"bound needs {least}, so the difference itself decides and may be luck"
    )


def _require_same_photos(challenger: Predictions, champion: Predictions) -> None:
    same = (
        challenger.classes == champion.classes
        and np.array_equal(challenger.labels, champion.labels)
        and np.array_equal(challenger.blocks, champion.blocks)
    )
    if not same:
        raise ValueError("challenger and champion must be measured on the same photos in the same order")


def _worse_than_champion(accuracy: float, comparison: Comparison, settings: GateSettings) -> str:
    against = f"the champion's {comparison.champion_accuracy:.4f}"
    shortfall = -settings.margin - comparison.lower_bound
    bound = (
        f"with {settings.confidence:.0%} confidence it may be up to {-comparison.lower_bound:.4f} worse, "
        f"{shortfall:.4f} more than the margin {settings.margin:.4f} allows"
    )
    if comparison.accuracy_difference < 0:
        return f"{_below(accuracy, comparison)}; {bound}"
    return (
        f"accuracy {accuracy:.4f} is {comparison.accuracy_difference:.4f} above {against}, "
        f"but that may be luck on so few photos: {bound}"
    )


def _below(accuracy: float, comparison: Comparison) -> str:
    against = f"the champion's {comparison.champion_accuracy:.4f}"
    return f"accuracy {accuracy:.4f} is {-comparison.accuracy_difference:.4f} below {against}"


def _where_to_look(challenger: Predictions, champion: Predictions | None) -> tuple[str, ...]:
    """The class with the most errors (more than the champion, if there is one), and the counts answered instead."""
    confusion = confusion_matrix(challenger)
    lost = confusion.sum(axis=1) - np.diagonal(confusion)
    against = "of all counts"
    if champion is not None:
        lost = np.diagonal(confusion_matrix(champion)) - np.diagonal(confusion)
        against = "against the champion"
    worst = int(lost.argmax())
    row = confusion[worst].copy()
    hits, photos = int(row[worst]), int(row.sum())
    row[worst] = -1
    count, taken_for = challenger.classes[worst], challenger.classes[int(row.argmax())]
    return (
        f"count {count} loses most photos {against} ({lost[worst]}): {hits} of {photos} right, "
        f"most often taken for {taken_for} ({int(row.max())} times)",
        "the confusion picture, slices and worst mistakes are in evaluation.html beside evaluation.json",
    )
