"""SageMaker's model-quality JSON, which the console shows beside a model package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.bootstrap import REPLICATES, interval, replicate_metrics
from evaluation.count_metrics import Floats, Predictions, confusion_matrix, majority_baseline, measure


@dataclass(frozen=True)
class _Weighted:
    """Averages over classes weighted by their photos, as SageMaker defines them; arrays keep leading replicate axes."""

    recall: Floats
    precision: Floats
    f0_5: Floats
    f1: Floats
    f2: Floats


def model_quality(
    predictions: Predictions, *, training_labels: np.ndarray[Any, Any], replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """The value of `multiclass_classification_metrics`: each metric with its bootstrap standard deviation.

    The "best constant classifier" is the commonest count of the training split.
    """
    answer: dict[str, Any] = {"confusion_matrix": _confusion(predictions)}
    constant = majority_baseline(training_labels, predictions)
    for suffix, judged in (("", predictions), ("_best_constant_classifier", constant)):
        shares = _shares(predictions)
        point = measure(judged)
        draws = replicate_metrics(judged, replicates=replicates, seed=seed)
        answer[f"accuracy{suffix}"] = _metric(float(point.accuracy), draws.accuracy)
        weighted = _weighted(point.precision, point.recall, shares)
        spread = _weighted(draws.precision, draws.recall, shares)
        for name in ("recall", "precision", "f0_5", "f1", "f2"):
            answer[f"weighted_{name}{suffix}"] = _metric(float(getattr(weighted, name)), getattr(spread, name))
    return answer


def _shares(predictions: Predictions) -> Floats:
    """[k] share of each class in the photos; the replicates use the same weights."""
    return np.asarray(confusion_matrix(predictions).sum(axis=1) / len(predictions.labels), dtype=np.float64)


def _weighted(precision: Floats, recall: Floats, shares: Floats) -> _Weighted:
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)

    def f(beta: float) -> Floats:
        denominator = beta**2 * p + r
        score = np.divide((1 + beta**2) * p * r, denominator, out=np.zeros_like(p), where=denominator > 0)
        return np.asarray(score @ shares)

    return _Weighted(np.asarray(r @ shares), np.asarray(p @ shares), f(0.5), f(1.0), f(2.0))


def _metric(value: float, draws: Floats) -> dict[str, float]:
    return {"value": value, "standard_deviation": interval(draws).standard_deviation}


def _confusion(predictions: Predictions) -> dict[str, dict[str, int]]:
    names = [str(count) for count in predictions.classes]
    matrix = confusion_matrix(predictions)
    return {names[i]: {names[j]: int(matrix[i, j]) for j in range(len(names))} for i in range(len(names))}
