"""One line a model: every metric, and the intervals of those that claims name."""

from __future__ import annotations

from typing import Final

import numpy as np

from evaluation.bootstrap import interval, replicate_metrics
from evaluation.count_metrics import Predictions, measure

SHOWN: Final = ("accuracy", "balanced_accuracy", "within_one", "rmse", "rmse_expected", "log_loss", "calibration_error")
WITH_INTERVAL: Final = ("accuracy", "within_one", "rmse")


def show(name: str, predictions: Predictions) -> None:
    """One line: every metric, and the interval of those that claims name."""
    metrics, replicates = measure(predictions), replicate_metrics(predictions)
    shown = []
    for metric in SHOWN:
        text = f"{metric.replace('_', ' ')} {float(getattr(metrics, metric)):.3f}"
        if metric in WITH_INTERVAL:
            span = interval(np.asarray(getattr(replicates, metric)))
            text += f" ({span.low:.3f} to {span.high:.3f})"
        shown.append(text)
    print(f"{name}: {', '.join(shown)}")
