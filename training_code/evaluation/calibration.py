"""Temperature scaling: one number, fitted on validation photos, that calibrates the probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluation.count_metrics import CALIBRATION_BINS, Floats, Predictions, measure

COLDEST, HOTTEST = 0.05, 20.0
_HALVINGS = 60


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, and its effect on the photos of the fit."""

    value: float
    """Logits are divided by this before the softmax; above one means that the model was overconfident."""
    photos: int
    log_loss_before: float
    log_loss_after: float
    calibration_error_before: float
    calibration_error_after: float


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """[n, k] probabilities of `logits` [n, k] at `temperature`."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def fit_temperature(logits: ArrayLike, labels: ArrayLike, *, classes: tuple[int, ...]) -> Temperature:
    """The temperature with the least log loss of `logits` [n, k] on `labels` [n] (counts among `classes`).

    The log loss is convex in 1/temperature, so halving the bracket on the sign of its slope finds the only minimum.
    Labels outside the classes and logits that are not finite raise ValueError.
    """
    logit_array = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(logit_array).all():
        raise ValueError("logits must be finite to be calibrated")
    before = Predictions.of(labels, softmax(logit_array), classes=classes)
    of_label = logit_array[np.arange(len(logit_array)), before.label_indices]
    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = float(((softmax(logit_array, np.exp(-middle)) * logit_array).sum(axis=1) - of_label).mean())
        low, high = (middle, high) if slope < 0 else (low, middle)
    value = float(np.exp(-(low + high) / 2))
    after = Predictions.of(labels, softmax(logit_array, value), classes=classes)
    was, now = measure(before), measure(after)
    return Temperature(
        value=value,
        photos=len(logit_array),
        log_loss_before=float(was.log_loss),
        log_loss_after=float(now.log_loss),
        calibration_error_before=float(was.calibration_error),
        calibration_error_after=float(now.calibration_error),
    )


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos whose top probability falls into one range."""

    photos: int
    confidence: float
    """Their mean top probability."""
    accuracy: float
    """Share of them counted right; equal to the confidence when the model is calibrated."""


def reliability(predictions: Predictions) -> tuple[ReliabilityBin, ...]:
    """The bins behind the calibration error, those with photos, from least to most confident."""
    confidence = predictions.probabilities.max(axis=1)
    place = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return tuple(
        ReliabilityBin(
            photos=int((place == number).sum()),
            confidence=float(confidence[place == number].mean()),
            accuracy=float(predictions.correct[place == number].mean()),
        )
        for number in np.unique(place)
    )
