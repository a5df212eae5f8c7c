"""Drift: whether today's photos look to the model like those it was evaluated on. Arithmetic only.

It compares the counts that the model answers, by the population stability index (PSI), and its mean confidence. Drift
is found where a difference exceeds a threshold and is larger than chance explains for this number of photos (one look
in a thousand).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

# Probability of a false alarm: of finding drift in photos without any.
FALSE_ALARMS = 0.001
_PSEUDO_PHOTOS = 0.5


@dataclass(frozen=True)
class Confidence:
    """Confidences of some photos: the probabilities of the counts that were answered."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Answers:
    """What a model answered to a number of photos."""

    photos: int
    """Their number; of weighted photos, how many without weights would say as much."""
    shares: Mapping[int, float]
    """Share of the photos by the count that was answered."""
    confidence: Confidence


@dataclass(frozen=True)
class Shift:
    """One comparison."""

    size: float
    """PSI, or the difference of the mean confidences."""
    by_luck: float
    """Size that chance alone reaches once in a thousand looks."""
    threshold: float

    @property
    def found(self) -> bool:
        """Whether it exceeds the threshold and what chance explains."""
        return self.size >= self.threshold and self.size > self.by_luck


class AnswerTally:
    """Sums of answers; a window may have millions."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._sum = self._squares = 0.0

    @property
    def photos(self) -> int:
        """Number of photos added."""
        return self._counts.total()

    def add(self, counts: Sequence[int], confidences: Sequence[float]) -> None:
        """Adds answers. Raises ValueError where a photo lacks its count or confidence."""
        if len(counts) != len(confidences):
            raise ValueError(f"{len(counts)} counts and {len(confidences)} confidences: one of each a photo")
        self._counts.update(counts)
        self._sum += math.fsum(confidences)
        self._squares += math.fsum(confidence**2 for confidence in confidences)

    def answers(self) -> Answers:
        """Shares and confidence of all answers. Raises ValueError without any."""
        if not self.photos:
            raise ValueError("no photo was answered")
        mean = self._sum / self.photos
        variance = max(0.0, self._squares / self.photos - mean**2)
        shares = {count: number / self.photos for count, number in sorted(self._counts.items())}
        return Answers(self.photos, shares, Confidence(mean, variance))


def baseline_of(evaluation: Mapping[str, Any], bins: Mapping[int, float] | None = None) -> Answers:
    """What the model answered on the test split.

    Args:
        evaluation: the evaluation document of the model package.
        bins: share of each recorded count among the bins that callers ask about, by which photos are weighted; None
            takes the shares of the test split, which may be a balanced one.

    Raises:
        KeyError: the document lacks a field.
        ValueError: the test split has no photo of a count of which callers have some.
    """
    ours = evaluation["binventory"]
    classes = [int(count) for count in ours["classes"]]
    rows = [[float(photos) for photos in row] for row in ours["confusion"]]
    weights = _weights(classes, rows, bins)
    photos = _effective_photos(weights, rows)
    shares = {
        count: sum(weight * row[column] / max(1.0, sum(row)) for weight, row in zip(weights, rows, strict=True))
        for column, count in enumerate(classes)
    }
    parts = [ours["confidence"][str(count)] for count in classes]
    return Answers(photos, shares, _mixed(weights, parts))


def _weights(
    classes: Sequence[int], rows: Sequence[Sequence[float]], bins: Mapping[int, float] | None
) -> Sequence[float]:
    """Weight of each recorded count that the test split has. Raises ValueError as `baseline_of` does."""
    photos = {count: sum(row) for count, row in zip(classes, rows, strict=True)}
    if lacking := [count for count, share in (bins or {}).items() if share and not photos.get(count)]:
        raise ValueError(f"the test split has no photo with {', '.join(map(str, lacking))} items")
    wanted = [(found if bins is None else bins.get(count, 0.0)) if found else 0.0 for count, found in photos.items()]
    total = sum(wanted)
    return [share / total for share in wanted]


def _effective_photos(weights: Sequence[float], rows: Sequence[Sequence[float]]) -> int:
    """How many photos without weights would vary by chance as little as these do (Kish, Survey Sampling, 1965).

    It is their number where the weights are the shares of the split, and less for any others: where nine of ten bins
    have one item, the few photos of such bins decide. It is never below 1: the weights add up to 1.
    """
    return round(1 / sum(weight**2 / sum(row) for weight, row in zip(weights, rows, strict=True) if weight))


def _mixed(weights: Sequence[float], parts: Iterable[Mapping[str, float]]) -> Confidence:
    """Mean and variance over the recorded counts (the law of total variance)."""
    pairs = [(weight, part) for weight, part in zip(weights, parts, strict=True) if weight]
    mean = sum(weight * part["mean"] for weight, part in pairs)
    within = sum(weight * part["variance"] for weight, part in pairs)
    return Confidence(mean, within + sum(weight * (part["mean"] - mean) ** 2 for weight, part in pairs))


def count_shift(baseline: Answers, live: Answers, threshold: float) -> Shift:
    """PSI of the answered counts. 0.1 is usually called small, 0.25 large."""
    counts = sorted({*baseline.shares, *live.shares})

    def smoothed(answers: Answers) -> list[float]:
        total = answers.photos + _PSEUDO_PHOTOS * len(counts)
        return [(answers.shares.get(count, 0.0) * answers.photos + _PSEUDO_PHOTOS) / total for count in counts]

    before, now = smoothed(baseline), smoothed(live)
    size = sum((new - old) * math.log(new / old) for old, new in zip(before, now, strict=True))
    # Between two samples of the same photos, PSI follows chi-square scaled by the samples' sizes.
    luck = chi_square_quantile(1 - FALSE_ALARMS, len(counts) - 1) * (1 / baseline.photos + 1 / live.photos)
    return Shift(size, luck, threshold)


def confidence_shift(baseline: Answers, live: Answers, threshold: float) -> Shift:
    """How far the mean confidence has moved, up or down."""
    error = math.sqrt(baseline.confidence.variance / baseline.photos + live.confidence.variance / live.photos)
    luck = NormalDist().inv_cdf(1 - FALSE_ALARMS / 2) * error
    return Shift(abs(live.confidence.mean - baseline.confidence.mean), luck, threshold)


def chi_square_quantile(probability: float, degrees: int) -> float:
    """By Wilson and Hilferty: exact within two per cent in the tail. 0 without a degree of freedom."""
    if degrees < 1:
        return 0.0
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)) ** 3
