"""Records that are made wrong on purpose, and measures of how well a ranking finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from benchmarks.held_out import Floats, Integers
from evaluation.trust import FURTHEST, PLANTED
from stacks.vocabulary import CLASSES

DEPTHS: Final = (50, 100, 200)

Corrupt = Callable[[Integers, np.random.Generator], tuple[Integers, NDArray[np.bool_]]]
"""From true counts [n] to recorded counts [n] and which of them are wrong [n]."""


def off_by_some(counts: Integers, generator: np.random.Generator) -> tuple[Integers, NDArray[np.bool_]]:
    """A tenth of the records off by 1 to 3, every quantity that stays within the classes equally likely.

    Quantities outside the classes are not made, because the audit reports them as out of scope and does not rank them.
    """
    return _corrupt(counts, generator)


def off_like_the_rest(counts: Integers, generator: np.random.Generator) -> tuple[Integers, NDArray[np.bool_]]:
    """As `off_by_some`, but a wrong quantity is drawn as often as it is recorded anywhere.

    Then rarity does not give wrong records away, and only the photo can: the harder test.
    """
    shares = np.bincount(counts, minlength=CLASSES[-1] + 1) / len(counts)
    return _corrupt(counts, generator, shares)


def _near(count: int) -> list[int]:
    return [other for other in CLASSES if 1 <= abs(other - count) <= FURTHEST]


def _corrupt(
    counts: Integers, generator: np.random.Generator, shares: Floats | None = None
) -> tuple[Integers, NDArray[np.bool_]]:
    recorded = counts.copy()
    wrong = np.zeros(len(counts), dtype=bool)
    wrong[generator.choice(len(counts), round(PLANTED * len(counts)), replace=False)] = True
    for index in np.flatnonzero(wrong):
        others = _near(int(counts[index]))
        weights = None if shares is None else shares[others] / shares[others].sum()
        recorded[index] = generator.choice(others, p=weights)
    return recorded, wrong


@dataclass(frozen=True)
class Found:
    """How well a ranking brings wrong records to the top."""

    precision: dict[int, float]
    """Share of wrong records among the first ones, by their number."""
    area: float
    """Under the ROC curve."""
    lift: float
    """Precision in the first tenth over the share of wrong records: times better than random inspection."""


def score(suspicion: Floats, wrong: NDArray[np.bool_]) -> Found:
    """Judge a ranking by `suspicion` [n], highest first; ties are broken at random, not by the order of the rows."""
    order = np.lexsort((np.random.default_rng(0).random(len(wrong)), -suspicion))
    hits = wrong[order]
    tenth = round(len(wrong) / 10)
    return Found(
        precision={depth: float(hits[:depth].mean()) for depth in DEPTHS},
        area=float(roc_auc_score(wrong, suspicion)),
        lift=float(hits[:tenth].mean() / wrong.mean()),
    )


@dataclass(frozen=True)
class Repeated:
    """A score over many corruptions: mean, and the range that holds 95% of them."""

    mean: Found
    low: Found
    high: Found


def repeat(probabilities: Floats, counts: Integers, corrupt: Corrupt, times: int) -> Repeated:
    """Corrupt `counts` again and again and rank by the improbability of what is recorded."""
    scores = []
    for seed in range(times):
        recorded, wrong = corrupt(counts, np.random.default_rng(seed))
        of_recorded = probabilities[np.arange(len(counts)), recorded - CLASSES[0]]
        scores.append(score(-of_recorded, wrong))
    return Repeated(
        mean=_summary(scores, np.mean),
        low=_summary(scores, lambda values: np.quantile(values, 0.025)),
        high=_summary(scores, lambda values: np.quantile(values, 0.975)),
    )


def _summary(scores: list[Found], pick: Callable[[list[float]], Any]) -> Found:
    return Found(
        precision={depth: float(pick([found.precision[depth] for found in scores])) for depth in DEPTHS},
        area=float(pick([found.area for found in scores])),
        lift=float(pick([found.lift for found in scores])),
    )


@dataclass(frozen=True, eq=False)
class Simulated:
    """A calibrated model of a given accuracy."""

    counts: Integers
    """[n]"""
    probabilities: Floats
    """[n, 5] exact posteriors."""
    blind_share: float
    """Share of photos without information about the count."""
    rmse: float


def simulate(accuracy: float, rmse: float, photos: int, shares: Floats, seed: int = 0) -> Simulated:
    """A simulated model: calibrated, with a published accuracy, and as near as possible to a published RMSE.

    Some photos have no information (the answer is the class shares). The others show the true count with noise that
    grows with the count (the answer is the exact posterior). The noise is chosen to reach the accuracy, the share of
    photos without information to come nearest to the RMSE.
    """
    candidates = [
        found
        for blind_share in np.arange(0, 0.75, 0.05)
        if (found := _with_blind_share(accuracy, float(blind_share), photos, shares, seed)) is not None
    ]
    return min(candidates, key=lambda found: abs(found.rmse - rmse))


def _with_blind_share(accuracy: float, blind_share: float, photos: int, shares: Floats, seed: int) -> Simulated | None:
    generator = np.random.default_rng(seed)
    counts = generator.choice(CLASSES, size=photos, p=shares).astype(np.int64)
    noise, blind = generator.normal(size=photos), generator.random(photos) < blind_share
    values = np.array(CLASSES, dtype=np.float64)
    low, high = 0.01, 5.0
    for _ in range(30):
        middle = (low + high) / 2
        table = _posterior(counts, noise, values, shares, middle)
        table[blind] = shares
        guessed = values[table.argmax(axis=1)]
        low, high = (middle, high) if (guessed == counts).mean() > accuracy else (low, middle)
    if abs((guessed == counts).mean() - accuracy) > 0.01:
        return None
    return Simulated(counts, table, blind_share, float(np.sqrt(((guessed - counts) ** 2).mean())))


def _posterior(counts: Integers, noise: Floats, values: Floats, shares: Floats, scale: float) -> Floats:
    deviation = scale * np.sqrt(values)
    seen = counts + deviation[counts - CLASSES[0]] * noise
    exponent = -0.5 * ((seen[:, None] - values) / deviation) ** 2
    density = np.exp(exponent - exponent.max(axis=1, keepdims=True)) / deviation * shares
    return np.asarray(density / density.sum(axis=1, keepdims=True))
