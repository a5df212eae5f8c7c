"""One self-contained page about a model: no scripts, nothing loaded from elsewhere, fit for phone and paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from binventory.pages.document import percent, render
from evaluation.bootstrap import Interval
from evaluation.calibration import ReliabilityBin, reliability
from evaluation.count_metrics import Predictions, confusion_matrix
from evaluation.photo_traits import LabelledPhoto
from evaluation.verdict import Evaluation, Measured
from photo import open_photo, resize_shorter_side

WORST_MISTAKES = 24
_THUMBNAIL_SIDE = 176
_PLOT = 260.0
_MARGIN = 52.0

_METRICS = (
    ("accuracy", "Accuracy", "share counted exactly right", "percent"),
    ("balanced_accuracy", "Average across classes", "mean recall of the classes", "percent"),
    ("within_one", "Within one", "share off by at most one item", "percent"),
    ("rmse", "RMSE", "items", "number"),
    ("rmse_expected", "RMSE of the expected count", "items", "number"),
    ("mae", "Mean absolute error", "items", "number"),
    ("bias", "Bias", "items; above zero counts too many", "number"),
    ("log_loss", "Log loss", "nats", "number"),
    ("calibration_error", "Calibration error", "expected, of the top probability", "number"),
)


@dataclass(frozen=True)
class _Row:
    title: str
    explanation: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    photos: int
    share: float
    """Of the photos with this recorded count."""
    on_diagonal: bool


@dataclass(frozen=True)
class _Mistake:
    id: str
    recorded: int
    counted: int
    probability_of_recorded: float
    probability_of_counted: float
    image: str
    """data: URI."""


@dataclass(frozen=True)
class _Dot:
    """A circle of the reliability picture, in its coordinates."""

    x: float
    y: float
    radius: float
    label: str


def render_page(evaluation: Evaluation, photos: Sequence[LabelledPhoto]) -> str:
    """The page as HTML. photos: the test split in the order of the evaluation's predictions."""
    predictions = evaluation.model.predictions
    compared = [evaluation.model, *([evaluation.champion] if evaluation.champion else []), *evaluation.baselines]
    return render(
        Path(__file__).with_name("page.html"),
        evaluation=evaluation,
        model=evaluation.model,
        decision=evaluation.decision,
        trust=evaluation.trust,
        classes=predictions.classes,
        photos=len(predictions.labels),
        blocks=int(predictions.blocks.max()) + 1,
        compared=[measured.name for measured in compared],
        comparison=[_row(compared, *metric) for metric in _METRICS],
        confusion=_confusion_cells(predictions),
        per_class=list(zip(predictions.classes, _class_rows(evaluation.model), strict=True)),
        reliability=_dots(reliability(predictions)),
        plot=_PLOT,
        margin=_MARGIN,
        mistakes=_worst_mistakes(predictions, photos),
    )


def _number(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.3f}"


def _with_span(value: float, found: Interval, show: Callable[[float], str]) -> Markup:
    if np.isnan(value):
        return Markup("{}").format(show(value))
    span = f"{show(found.low)} to {show(found.high)}" if found.is_known else "too few blocks for an interval"
    return Markup("{} <small>{}</small>").format(show(value), span)


def _row(compared: Sequence[Measured], name: str, title: str, explanation: str, kind: str) -> _Row:
    show = percent if kind == "percent" else _number
    cells = []
    for measured in compared:
        found = measured.intervals[name]
        cells.append(_with_span(float(getattr(measured.metrics, name)), found, show))
    return _Row(title, explanation, tuple(cells))


def _confusion_cells(predictions: Predictions) -> list[list[_Cell]]:
    matrix = confusion_matrix(predictions)
    photos = matrix.sum(axis=1)
    return [
        [
            _Cell(int(matrix[i, j]), float(matrix[i, j] / photos[i]) if photos[i] else 0.0, i == j)
            for j in range(len(matrix))
        ]
        for i in range(len(matrix))
    ]


def _class_rows(model: Measured) -> list[tuple[int, str, str, str, str]]:
    """(photos, recall with interval, precision, one-against-rest accuracy, RMSE) of each class."""
    photos = confusion_matrix(model.predictions).sum(axis=1)
    rows: list[tuple[int, str, str, str, str]] = []
    for column in range(len(model.predictions.classes)):
        found = model.class_intervals["recall"][column]
        recall = _with_span(float(model.metrics.recall[column]), found, percent)
        rows.append(
            (
                int(photos[column]),
                recall,
                percent(float(model.metrics.precision[column])),
                percent(float(model.metrics.class_accuracy[column])),
                _number(float(model.metrics.class_rmse[column])),
            )
        )
    return rows


def _dots(bins: Sequence[ReliabilityBin]) -> list[_Dot]:
    most = max(found.photos for found in bins)
    return [
        _Dot(
            x=_MARGIN + found.confidence * _PLOT,
            y=_MARGIN / 2 + (1 - found.accuracy) * _PLOT,
            radius=3 + 9 * float(np.sqrt(found.photos / most)),
            label=f"{found.photos} photos: said {percent(found.confidence)}, right {percent(found.accuracy)}",
        )
        for found in bins
    ]


def _worst_mistakes(predictions: Predictions, photos: Sequence[LabelledPhoto]) -> list[_Mistake]:
    """The wrongly counted photos whose recorded count the model held least possible."""
    rows = np.arange(len(predictions.labels))
    of_recorded = predictions.probabilities[rows, predictions.label_indices]
    wrong = np.flatnonzero(~predictions.correct)
    worst = wrong[np.argsort(of_recorded[wrong], kind="stable")][:WORST_MISTAKES]
    return [
        _Mistake(
            id=photos[index].id,
            recorded=int(predictions.labels[index]),
            counted=int(predictions.counts[index]),
            probability_of_recorded=float(of_recorded[index]),
            probability_of_counted=float(predictions.probabilities[index, predictions.count_indices[index]]),
            image=_thumbnail(photos[index].photo),
        )
        for index in worst.tolist()
    ]


def _thumbnail(photo: bytes) -> str:
    image = resize_shorter_side(open_photo(photo, needed_side=_THUMBNAIL_SIDE), _THUMBNAIL_SIDE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
