"""Metrics of a count model: accuracy and errors, from labels and probabilities alone.

Every metric here is a function of sums over photos. The sums are kept per block of ids, so one implementation gives
the point estimate (add all blocks) and any number of bootstrap replicates (add the blocks a replicate drew).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.answer_rule import MOST_PROBABLE, answered

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CALIBRATION_BINS = 15
PER_CLASS = ("precision", "recall", "class_accuracy", "class_rmse")
_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
_SUM_TOLERANCE = 1e-3
# Less than a photo among a hundred million makes of a metric, and more than a subtraction rounds.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's probabilities for photos whose count is known.

    Use `Predictions.of(...)`, which accepts anything array-like and checks it.
    """

    labels: Integers
    """[n] recorded counts, each one of `classes`."""
    probabilities: Floats
    """[n, k] probability of each class; rows sum to one."""
    blocks: Integers
    """[n] block of ids a photo belongs to, numbered 0..B-1 without gaps; photos of one block are not independent."""
    classes: tuple[int, ...]
    """k counts, in the order of the columns, ascending."""
    answer: str = MOST_PROBABLE
    """The rule by which the answered count is chosen."""

    @classmethod
    def of(
        cls, labels: ArrayLike, probabilities: ArrayLike, blocks: ArrayLike | None = None, *, classes: tuple[int, ...],
        answer: str = MOST_PROBABLE,
    ) -> Predictions:  # fmt: skip
        """Check and freeze. `blocks` may be any hashable ids ([n]); None makes every photo a block.

        Raises ValueError naming what does not fit.
        """
        label_array = np.asarray(labels, dtype=np.int64)
        probability_array = np.asarray(probabilities, dtype=np.float64)
        count = len(label_array)
        if tuple(sorted(set(classes))) != tuple(classes):
            raise ValueError(f"classes must be ascending and distinct, got {classes}")
        if count == 0:
            raise ValueError("labels are empty: there is nothing to measure")
        if probability_array.shape != (count, len(classes)):
            raise ValueError(
                f"probabilities have shape {probability_array.shape}, expected ({count}, {len(classes)}) "
                f"for {count} labels and classes {classes}"
            )
        unknown = sorted(set(label_array.tolist()) - set(classes))
        if unknown:
            raise ValueError(f"labels contain {unknown}, which are not among the classes {classes}")
        sums = probability_array.sum(axis=1)
        if not np.isfinite(probability_array).all() or (probability_array < 0).any():
            raise ValueError("probabilities must be finite and not negative")
        if np.abs(sums - 1).max() > _SUM_TOLERANCE:
            raise ValueError(f"probabilities of a photo must sum to 1, got {sums[np.abs(sums - 1).argmax()]:.4f}")
        block_ids = np.arange(count) if blocks is None else np.asarray(blocks)
        if block_ids.shape != (count,):
            raise ValueError(f"blocks have shape {block_ids.shape}, expected ({count},)")
        _, numbered = np.unique(block_ids, return_inverse=True)
        return cls(label_array, probability_array / sums[:, None], numbered.astype(np.int64), tuple(classes), answer)

    @property
    def counts(self) -> Integers:
        """[n] the answered count."""
        return np.asarray(np.asarray(self.classes, dtype=np.int64)[self.count_indices])

    @property
    def count_indices(self) -> Integers:
        """[n] column of each answered count."""
        return answered(self.probabilities, self.answer)

    @property
    def expected_counts(self) -> Floats:
        """[n] mean of the predicted distribution, in items."""
        return self.probabilities @ np.asarray(self.classes, dtype=np.float64)

    @property
    def label_indices(self) -> Integers:
        """[n] column of each label."""
        return np.searchsorted(np.asarray(self.classes), self.labels).astype(np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[n] whether the answered count is the recorded one."""
        return np.asarray(self.counts == self.labels)

    @property
    def top_is_right(self) -> NDArray[np.bool_]:
        """[n] whether the most probable count is the recorded one: what the top probability promises."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.label_indices)

    def subset(self, chosen: NDArray[np.bool_]) -> Predictions:
        """The photos where `chosen` ([n]) is true."""
        return Predictions.of(
            self.labels[chosen],
            self.probabilities[chosen],
            self.blocks[chosen],
            classes=self.classes,
            answer=self.answer,
        )


@dataclass(frozen=True, eq=False)
class CountMetrics:
    """Metrics of one set of photos, or of many replicates of it at once.

    Every field has the leading shape of the sums it was computed from: `()` for one set, `[replicates]` for a
    bootstrap; fields marked "a class" have one more axis of length k. What is undefined (the precision of a class
    never predicted) is NaN.
    """

    accuracy: Floats
    """Share of photos counted exactly right."""
    balanced_accuracy: Floats
    """Mean recall over the classes present: the published tables' "average across classes"."""
    within_one: Floats
    """Share of photos off by at most one item."""
    rmse: Floats
    """Root mean squared error of the answered count, items."""
    mae: Floats
    """Mean absolute error of the answered count, items."""
    bias: Floats
    """Mean signed error of the answered count, items; above zero means counting too many."""
    rmse_expected: Floats
    """Root mean squared error of the expected count, items."""
    log_loss: Floats
    """Mean negative log probability of the recorded count, nats."""
    calibration_error: Floats
    """Expected calibration error of the top probability in equal-width bins."""
    macro_f1: Floats
    """Mean F1 over the classes present."""
    precision: Floats
    """A class: share of the photos given this count that have it."""
    recall: Floats
    """A class: share of the photos of this count that were given it (the published tables' per class accuracy)."""
    class_accuracy: Floats
    """A class: share of all photos that are classified correctly as this count or not (one against the rest)."""
    class_rmse: Floats
    """A class: root mean squared error over the photos of this count, items."""

    def scalars(self) -> Iterator[tuple[str, Floats]]:
        """Name and value of the metrics that are one number a set."""
        return ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in PER_CLASS)

    def per_class(self) -> Iterator[tuple[str, Floats]]:
        """Name and value of the metrics that have a number a class."""
        return ((name, getattr(self, name)) for name in PER_CLASS)


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Sums over the photos of each block: all that any metric needs."""

    table: Floats
    """[B, s] one row a block; the columns are laid out by `_Columns`."""
    classes: tuple[int, ...]

    @classmethod
    def of(cls, predictions: Predictions) -> BlockSums:
        """Add up `predictions` by block."""
        k = len(predictions.classes)
        columns = _Columns(k)
        rows = np.arange(len(predictions.labels))
        per_photo = np.zeros((len(rows), columns.width))
        confusion_cell = predictions.label_indices * k + predictions.count_indices
        per_photo[rows, confusion_cell] = 1
        of_label = predictions.probabilities[rows, predictions.label_indices]
        per_photo[:, columns.log_loss] = -np.log(np.clip(of_label, _SMALLEST_PROBABILITY, 1))
        per_photo[:, columns.expected_squared_error] = (predictions.expected_counts - predictions.labels) ** 2
        # Only the sum of (confidence - right) of a bin matters: the bin's size cancels out of the weighted mean.
        confidence = predictions.probabilities.max(axis=1)
        calibration_bin = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        per_photo[rows, columns.calibration_start + calibration_bin] = confidence - predictions.top_is_right
        table = np.zeros((int(predictions.blocks.max()) + 1, columns.width))
        np.add.at(table, predictions.blocks, per_photo)
        return cls(table, predictions.classes)

    def total(self) -> Floats:
        """[s] sums over all blocks."""
        return np.asarray(self.table.sum(axis=0))


@dataclass(frozen=True)
class _Columns:
    """Column of each sum: k*k confusion cells (label-major), then the others."""

    k: int

    @property
    def log_loss(self) -> int:
        return self.k * self.k

    @property
    def expected_squared_error(self) -> int:
        return self.log_loss + 1

    @property
    def calibration_start(self) -> int:
        return self.log_loss + 2

    @property
    def width(self) -> int:
        return self.calibration_start + CALIBRATION_BINS


def metrics_of_sums(sums: Floats, classes: tuple[int, ...]) -> CountMetrics:
    """Metrics from sums `[..., s]` laid out as in `BlockSums`; the leading axes are kept."""
    k = len(classes)
    columns = _Columns(k)
    confusion = sums[..., : k * k].reshape((*sums.shape[:-1], k, k))
    values = np.asarray(classes, dtype=np.float64)
    error = values[None, :] - values[:, None]
    photos = confusion.sum(axis=(-2, -1))
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    of_label = confusion.sum(axis=-1)
    of_guess = confusion.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / of_label
        precision = hits / of_guess
        f1 = np.where(of_label > 0, 2 * hits / (of_label + of_guess), np.nan)
        return CountMetrics(
            accuracy=hits.sum(axis=-1) / photos,
            balanced_accuracy=_mean_of_present(recall),
            within_one=(confusion * (np.abs(error) <= 1)).sum(axis=(-2, -1)) / photos,
            rmse=np.sqrt((confusion * error**2).sum(axis=(-2, -1)) / photos),
            mae=(confusion * np.abs(error)).sum(axis=(-2, -1)) / photos,
            bias=(confusion * error).sum(axis=(-2, -1)) / photos,
            rmse_expected=np.sqrt(sums[..., columns.expected_squared_error] / photos),
            log_loss=sums[..., columns.log_loss] / photos,
            calibration_error=np.abs(sums[..., columns.calibration_start :]).sum(axis=-1) / photos,
            macro_f1=_mean_of_present(f1),
            precision=precision,
            recall=recall,
            class_accuracy=(photos[..., None] - of_label - of_guess + 2 * hits) / photos[..., None],
            class_rmse=np.sqrt((confusion * error**2).sum(axis=-1) / of_label),
        )


def is_above(difference: float, limit: float) -> bool:
    """Whether a difference of two metrics is above its limit, and not by rounding: 0.61 - 0.605 is no 0.005."""
    return difference > limit + _ROUNDING


def measure(predictions: Predictions) -> CountMetrics:
    """Every metric of one set of photos; scalar fields have shape (), class fields [k]."""
    return metrics_of_sums(BlockSums.of(predictions).total(), predictions.classes)


def confusion_matrix(predictions: Predictions) -> Integers:
    """[k, k] photos by recorded count (row) and answered count (column)."""
    k = len(predictions.classes)
    cells = predictions.label_indices * k + predictions.count_indices
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.int64)


def class_shares(labels: ArrayLike, classes: tuple[int, ...]) -> Floats:
    """[k] share of each class among `labels`, typically those of the training split."""
    label_array = np.asarray(labels, dtype=np.int64)
    counts = (label_array[:, None] == np.asarray(classes)[None, :]).sum(axis=0).astype(np.float64)
    if counts.sum() == 0:
        raise ValueError(f"no label is one of the classes {classes}")
    return np.asarray(counts / counts.sum())


def majority_baseline(training_labels: ArrayLike, test: Predictions) -> Predictions:
    """Baseline: always the commonest training count, with certainty. A useful model must beat it."""
    shares = class_shares(training_labels, test.classes)
    certain = np.zeros_like(shares)
    certain[shares.argmax()] = 1
    return Predictions.of(test.labels, np.tile(certain, (len(test.labels), 1)), test.blocks, classes=test.classes)


def prior_baseline(training_labels: ArrayLike, test: Predictions) -> Predictions:
    """Baseline: the training shares for every photo, the best probabilities without the photo."""
    shares = class_shares(training_labels, test.classes)
    return Predictions.of(test.labels, np.tile(shares, (len(test.labels), 1)), test.blocks, classes=test.classes)


def _mean_of_present(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; at least one class is always present."""
    present = ~np.isnan(values)
    return np.asarray(np.where(present, values, 0).sum(axis=-1) / present.sum(axis=-1))
