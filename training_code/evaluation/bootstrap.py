"""Confidence intervals by resampling blocks of ids.

Neighbouring ids often show the same bin, so photos are not independent; blocks of ids are.
Resampling single photos would give intervals that are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from evaluation.count_metrics import BlockSums, CountMetrics, Floats, Predictions, metrics_of_sums

REPLICATES = 2000
LEVEL = 0.95
LEAST_BLOCKS = 5
"""Blocks from which an interval is given: two or three of them, drawn again, do not say how far a figure may be off."""
# Bounds the memory of the weights: at most this many (replicate, block) cells at once, 8 bytes each.
_CELLS_AT_ONCE = 4_000_000


def least_blocks(confidence: float) -> int:
    """Blocks from which a one-sided bound can be stated with this confidence; for 0.95 they are LEAST_BLOCKS.

    If two models are equally good, the difference of every block has either sign by chance: all of n blocks agree once
    in 2^n times. Below that share of error no statement about the blocks can be made, whatever is computed.
    """
    return max(LEAST_BLOCKS, math.ceil(-math.log2(1 - confidence)))


def tail(share: float, blocks: int) -> float:
    """The quantile of the replicates of so many blocks that stands for the `share` of a distribution, 0 to 1.

    Replicates of few blocks spread too little: by the root of (B - 1) / B, and as a normal distribution where the few
    blocks ask for Student's t with B - 1 degrees. Of 95% bounds of five blocks, 11 in 100 were wrong and not 5.
    Hesterberg, What Teachers Should Know about the Bootstrap, 2014 (the expanded percentile interval).
    """
    z, degrees = NormalDist().inv_cdf(share), blocks - 1
    # Of Student's t: Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.7.5.
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return NormalDist().cdf(t * math.sqrt(blocks / degrees))


@dataclass(frozen=True)
class Interval:
    """A percentile interval of a metric and the spread of its replicates."""

    low: float
    high: float
    standard_deviation: float
    level: float = LEVEL

    @property
    def is_known(self) -> bool:
        """Whether enough blocks gave one."""
        return math.isfinite(self.low)


def replicate_metrics(predictions: Predictions, *, replicates: int = REPLICATES, seed: int = 0) -> CountMetrics:
    """Metrics of `replicates` resamples of the blocks; fields have shape [replicates] or [replicates, k].

    The same seed draws the same blocks, so two models measured on the same photos are compared pair by pair.
    """
    sums = BlockSums.of(predictions)
    weights = _block_weights(len(sums.table), replicates, seed)
    return metrics_of_sums(np.concatenate([chunk @ sums.table for chunk in weights]), sums.classes)


def interval(values: Floats, *, level: float = LEVEL, blocks: int | None = None) -> Interval:
    """The central `level` of replicate `values` ([r]); replicates where the metric is undefined (NaN) are left out.

    `blocks` is how many were resampled; None: so many that their number does not matter. Bounds are NaN where no
    replicate defines the metric, and where there were fewer than LEAST_BLOCKS.
    """
    defined = values[~np.isnan(values)]
    if len(defined) == 0 or (blocks is not None and blocks < LEAST_BLOCKS):
        return Interval(float("nan"), float("nan"), float("nan"), level)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(defined, ends if blocks is None else [tail(end, blocks) for end in ends])
    return Interval(float(low), float(high), float(defined.std(ddof=1)) if len(defined) > 1 else 0.0, level)


def _block_weights(blocks: int, replicates: int, seed: int) -> Iterator[Floats]:
    """Chunks [r, B]: how often each replicate drew each block; a replicate has B draws with replacement."""
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    generator = np.random.default_rng(seed)
    share = np.full(blocks, 1 / blocks)
    step = max(1, _CELLS_AT_ONCE // blocks)
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        yield generator.multinomial(blocks, share, size=size).astype(np.float64)
