"""An evaluation on disk: evaluation.json for the pipeline, evaluation.html for people."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.answers import AnswerFile
from evaluation.bootstrap import Interval
from evaluation.count_metrics import PER_CLASS, Predictions, confusion_matrix
from evaluation.model_quality import model_quality
from evaluation.page import render_page
from evaluation.photo_traits import LabelledPhoto
from evaluation.slices import Slicing
from evaluation.verdict import Evaluation, Measured

SCHEMA = 1
JSON_NAME = "evaluation.json"
PAGE_NAME = "evaluation.html"


def write_report(
    folder: Path, evaluation: Evaluation, photos: Sequence[LabelledPhoto], answers: AnswerFile | None = None
) -> None:
    """Write `evaluation.json` and `evaluation.html` into `folder`.

    photos: the test split, for the worst mistakes; answers: the file of its answers, when one was written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(to_json(evaluation, answers), indent=2, allow_nan=False)
    (folder / JSON_NAME).write_text(document + "\n", encoding="utf-8")
    (folder / PAGE_NAME).write_text(render_page(evaluation, photos), encoding="utf-8")


def to_json(evaluation: Evaluation, answers: AnswerFile | None = None) -> dict[str, Any]:
    """SageMaker's model-quality document, with all the rest under `binventory`; undefined numbers are null."""
    test = evaluation.model.predictions
    decision = evaluation.decision
    gate = {**dataclasses.asdict(decision), "passed": decision.passed}
    document = {
        "multiclass_classification_metrics": model_quality(test, training_labels=evaluation.training_labels),
        "binventory": {
            "schema": SCHEMA,
            "photos": len(test.labels),
            "blocks": int(test.blocks.max()) + 1,
            "classes": list(test.classes),
            "model": _measured_json(evaluation.model),
            "confusion": confusion_matrix(test).tolist(),
            "confidence": _confidence_json(test),
            "baselines": {baseline.name: _measured_json(baseline) for baseline in evaluation.baselines},
            "champion": None if evaluation.champion is None else _measured_json(evaluation.champion),
            "calibration": dataclasses.asdict(evaluation.temperature),
            "trust": dataclasses.asdict(evaluation.trust),
            "slices": {slicing.by: _slicing_json(slicing) for slicing in evaluation.slicings},
            "gate": gate,
            "answers": None if answers is None else dataclasses.asdict(answers),
            "lineage": dict(evaluation.lineage),
        },
    }
    cleaned: dict[str, Any] = _without_nan(document)
    return cleaned


def _measured_json(measured: Measured) -> dict[str, Any]:
    scalars = {
        name: _with_interval(float(value), measured.intervals[name]) for name, value in measured.metrics.scalars()
    }
    classes = {}
    for column, count in enumerate(measured.predictions.classes):
        classes[str(count)] = {
            name: _with_interval(float(getattr(measured.metrics, name)[column]), measured.class_intervals[name][column])
            for name in PER_CLASS
        }
    return {**scalars, "classes": classes}


def _confidence_json(test: Predictions) -> dict[str, dict[str, float]]:
    """Mean and variance of the answer's probability by recorded count: the baseline of the drift monitor."""
    sure = test.probabilities[np.arange(len(test.labels)), test.count_indices]
    found = {}
    for count in test.classes:
        values = sure[test.labels == count]
        found[str(count)] = {
            "mean": float(values.mean()) if len(values) else 0.0,
            "variance": float(values.var()) if len(values) else 0.0,
        }
    return found


def _slicing_json(slicing: Slicing) -> list[dict[str, Any]]:
    return [
        {
            "slice": part.name,
            "photos": part.photos,
            "accuracy": _with_interval(float(part.metrics.accuracy), part.accuracy_interval),
            "within_one": float(part.metrics.within_one),
            "rmse": float(part.metrics.rmse),
            "bias": float(part.metrics.bias),
            "weak": part.weak,
        }
        for part in slicing.slices
    ]


def _with_interval(value: float, found: Interval) -> dict[str, float]:
    return {"value": value, "low": found.low, "high": found.high}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
