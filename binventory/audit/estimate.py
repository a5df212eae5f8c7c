"""From "how improbable is this record" to "how many records are wrong": a mixture of right and wrong records.

Let p be the calibrated probability, given the photo, of the recorded quantity. If a share e of records is wrong and a
wrong record is equally likely to name any other count, the recorded quantity has likelihood

    (1 - e) * p  +  e * (1 - p) / (k - 1)

The share e that makes all records together most likely is the estimate, and Bayes' rule gives the probability that one
record is wrong. A model that is often unsure makes the interval wide, not the estimate high: the mean of 1 - p would
count the model's own doubts as errors of the record.

The interval is the wider, at each end, of two: resampled blocks of neighbouring ids (photos of one block are alike) and
the likelihood's interval (which has a width even where the estimate and all resamples are 0).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

REPLICATES: Final = 1000
LEVEL: Final = 0.95
# Half of the resolution is spent below p = 1/4, where records are decided: bins are even in the square root of p.
_BINS: Final = 512
_BLOCK_LIMIT: Final = 4096
_REPLICATES_AT_ONCE: Final = 100
_HALVINGS: Final = 40
_Z: Final = 1.96
# Half of the 95% quantile of chi squared with one degree of freedom.
_LIKELIHOOD_DROP: Final = 1.92


@dataclass(frozen=True)
class WrongShare:
    """Estimated share of wrong records among those audited."""

    share: float
    low: float
    high: float
    photos: int
    classes: int


def posterior(recorded_probability: ArrayLike, share: float, classes: int) -> Floats:
    """Bayes' rule for the mixture above; elementwise over `recorded_probability`, at a given share of wrong records."""
    p = np.asarray(recorded_probability, dtype=np.float64)
    wrong = share * (1 - p) / (classes - 1)
    total = (1 - share) * p + wrong
    return np.asarray(np.divide(wrong, total, out=np.zeros_like(p), where=total > 0))


def block_of(image_id: str) -> int:
    """Blocks of a hundred neighbouring ids, folded to a bounded number; ids that are no numbers are spread by hash."""
    block = int(image_id) // 100 if image_id.isascii() and image_id.isdigit() else zlib.crc32(image_id.encode())
    return block % _BLOCK_LIMIT


def estimate_wrong_share(
    rows: Iterable[tuple[str, float]], *, classes: int, replicates: int = REPLICATES, seed: int = 0
) -> WrongShare:
    """Estimate from (image id, probability of the recorded quantity) pairs, read once, in memory that does not grow.

    Raises ValueError when there is no row or fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    counts = np.zeros((_BLOCK_LIMIT, _BINS))
    sums = np.zeros(_BINS)
    for image_id, probability in rows:
        place = min(int(np.sqrt(probability) * _BINS), _BINS - 1)
        counts[block_of(image_id), place] += 1
        sums[place] += probability
    counts = counts[counts.any(axis=1)]
    total = counts.sum(axis=0)
    if not len(counts):
        raise ValueError("no record was audited: there is nothing to estimate")
    used = total > 0
    mean_probability = sums[used] / total[used]
    share = float(_most_likely_share(total[None, used], mean_probability, classes)[0])
    draws = _resampled_shares(counts[:, used], mean_probability, classes, replicates, seed)
    resampled = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    likely = _likelihood_interval(total[used], mean_probability, classes, share)
    return WrongShare(
        share=share,
        low=float(min(resampled[0], likely[0])),
        high=float(max(resampled[1], likely[1])),
        photos=int(total.sum()),
        classes=classes,
    )


@dataclass(frozen=True)
class Finds:
    """The wrong records that checking the first bins of the list is expected to find."""

    inspections: int
    expected: float
    low: float
    high: float
    by_chance: float
    """Wrong records expected in as many bins picked at random."""


def expected_finds(recorded_probabilities: ArrayLike, share: WrongShare) -> Finds:
    """Wrong records among the bins with these probabilities ([n], the ones to be checked).

    The range covers both uncertainties: how many records are wrong, and which of them.
    """
    p = np.asarray(recorded_probabilities, dtype=np.float64)

    def found(at: float) -> tuple[float, float]:
        wrong = posterior(p, at, share.classes)
        return float(wrong.sum()), _Z * float(np.sqrt((wrong * (1 - wrong)).sum()))

    expected, _ = found(share.share)
    fewest, below = found(share.low)
    most, above = found(share.high)
    return Finds(
        inspections=len(p),
        expected=expected,
        low=max(0.0, fewest - below),
        high=min(float(len(p)), most + above),
        by_chance=len(p) * share.share,
    )


def _resampled_shares(counts: Floats, probability: Floats, classes: int, replicates: int, seed: int) -> Floats:
    """[r] shares of as many bootstrap samples of the blocks, `counts` [blocks, b]; a few samples in memory at once."""
    draw = np.random.default_rng(seed)
    evenly = np.full(len(counts), 1 / len(counts))
    found = []
    for start in range(0, replicates, _REPLICATES_AT_ONCE):
        size = min(_REPLICATES_AT_ONCE, replicates - start)
        weights = draw.multinomial(len(counts), evenly, size=size).astype(np.float64)
        found.append(_most_likely_share(weights @ counts, probability, classes))
    return np.concatenate(found)


def _most_likely_share(weights: Floats, probability: Floats, classes: int) -> Floats:
    """[r] shares that maximise the likelihood of each row of `weights` [r, b] over bins with `probability` [b].

    The log likelihood is concave in the share, so its slope changes sign once at most.
    """
    other = (1 - probability) / (classes - 1)
    low, high = np.zeros(len(weights)), np.ones(len(weights))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        likelihood = (1 - middle[:, None]) * probability + middle[:, None] * other
        slope = (weights * (other - probability) / np.maximum(likelihood, 1e-300)).sum(axis=1)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return np.asarray((low + high) / 2)


def _likelihood_interval(weights: Floats, probability: Floats, classes: int, share: float) -> tuple[float, float]:
    """Shares whose log likelihood is within the 95% drop of the largest; weights and probability are [b]."""
    other = (1 - probability) / (classes - 1)

    def log_likelihood(at: Floats) -> Floats:
        likelihood = (1 - at[:, None]) * probability + at[:, None] * other
        return np.asarray((weights * np.log(np.maximum(likelihood, 1e-300))).sum(axis=1))

    grid = np.union1d(np.linspace(0, 1, 2001), [share])
    inside = grid[log_likelihood(grid) >= log_likelihood(np.array([share]))[0] - _LIKELIHOOD_DROP]
    return float(inside.min()), float(inside.max())
