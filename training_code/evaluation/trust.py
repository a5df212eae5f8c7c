"""How far an audit by a model can be trusted: whether it knows more than the shares of counts, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from evaluation.bootstrap import least_blocks, replicate_metrics, tail
from evaluation.count_metrics import Integers, Predictions

PLANTED: Final = 0.1
"""Share of the test records that are made wrong, and share of all records that an audit would then look at."""
FURTHEST: Final = 3
"""Items by which a wrong record is off at most."""
_TIMES: Final = 100
_LEVEL: Final = 0.95


@dataclass(frozen=True)
class Trust:
    """How far an audit by this model can be trusted."""

    beats_shares: bool
    """Whether its log loss is below that of the shares of the counts with 95% confidence, blocks drawn together; fewer
    than five blocks show it of no model."""
    planted: float
    """Share of the records that were made wrong; the wrong quantities are as frequent as all others."""
    found: float
    """Share of those among as many records as were made wrong, the least probable ones; by chance it is `planted`."""


def trust_in(model: Predictions, shares: Predictions, *, replicates: int, seed: int) -> Trust:
    """Judge the answers for the test split, against those that know the shares of the counts only."""
    ours, theirs = (
        replicate_metrics(predictions, replicates=replicates, seed=seed).log_loss for predictions in (model, shares)
    )
    blocks = len(np.unique(model.blocks))
    beats = blocks >= least_blocks(_LEVEL) and bool(np.quantile(ours - theirs, tail(_LEVEL, blocks)) < 0)
    generator = np.random.default_rng(seed)
    return Trust(beats, PLANTED, float(np.mean([_found(model, generator) for _ in range(_TIMES)])))


def _found(model: Predictions, generator: np.random.Generator) -> float:
    """Share of the wrong records of one draw that are found."""
    number = max(1, round(PLANTED * len(model.labels)))
    wrong = generator.choice(len(model.labels), number, replace=False)
    columns = model.label_indices.copy()
    columns[wrong] = _others(model, wrong, generator)
    of_record = model.probabilities[np.arange(len(columns)), columns]
    # Ties are broken by chance, not by the order of the photos.
    first = np.lexsort((generator.random(len(columns)), of_record))[:number]
    return float(np.isin(wrong, first).mean())


def _others(model: Predictions, rows: Integers, generator: np.random.Generator) -> Integers:
    """Column of a wrong quantity for each row, as often as it is recorded anywhere, at most FURTHEST items off."""
    classes = np.asarray(model.classes)
    weights = np.bincount(model.label_indices, minlength=len(classes)) + 1e-9
    off = np.abs(classes[None, :] - model.labels[rows][:, None])
    allowed = np.where((off > 0) & (off <= FURTHEST), weights[None, :], 0.0)
    edges = (allowed / allowed.sum(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = generator.random((len(rows), 1))
    return np.asarray(np.minimum((edges < drawn).sum(axis=1), len(classes) - 1), dtype=np.int64)
