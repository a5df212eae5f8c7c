"""The evaluation of one model on one test split, against its baselines and the champion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import Interval, interval, replicate_metrics
from evaluation.calibration import Temperature
from evaluation.count_metrics import CountMetrics, Predictions, majority_baseline, measure, prior_baseline
from evaluation.gate import GateDecision, GateSettings, decide
from evaluation.photo_traits import LabelledPhoto, traits_of
from evaluation.slices import Slicing, slice_by_traits
from evaluation.trust import Trust, trust_in


@dataclass(frozen=True, eq=False)
class Measured:
    """One predictor on the test photos."""

    name: str
    predictions: Predictions
    metrics: CountMetrics
    intervals: Mapping[str, Interval]
    """Interval of each metric that is one number a set."""
    class_intervals: Mapping[str, tuple[Interval, ...]]
    """Intervals of each metric that has a number a class."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All results, for the report."""

    model: Measured
    baselines: tuple[Measured, ...]
    champion: Measured | None
    slicings: tuple[Slicing, ...]
    temperature: Temperature
    trust: Trust
    decision: GateDecision
    lineage: Mapping[str, str]
    training_labels: NDArray[Any]
    ids: tuple[str, ...]


def evaluate(
    *,
    test: Predictions,
    photos: Sequence[LabelledPhoto],
    training_labels: Sequence[int] | NDArray[Any],
    temperature: Temperature,
    gate: GateSettings,
    champion: Predictions | None = None,
    not_compared: str = "",
    training_skus: Set[str] = frozenset(),
    lineage: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure, slice and judge a model.

    Args:
        test: its answers on the test split, with its temperature applied.
        photos: the same photos in the same order.
        champion: the answers of the model that serves today on the same photos.
        not_compared: why there are none although there is a champion.
        training_skus: every SKU of the training split; empty where unknown.
        lineage: code version, data fingerprint, hyperparameters, jobs and price, shown and stored as given.

    Raises ValueError when photos and predictions do not belong together.
    """
    if len(photos) != len(test.labels):
        raise ValueError(f"{len(photos)} photos for {len(test.labels)} predictions: they must be the same test split")
    labels = np.asarray(training_labels, dtype=np.int64)

    def measured(name: str, predictions: Predictions) -> Measured:
        return _measured(name, predictions, gate)

    ids, traits = [], []
    for index, label in enumerate(test.labels):
        photo = photos[index]
        if photo.count != label:
            raise ValueError(f"photo {photo.id} has count {photo.count}, its prediction was judged by {label}")
        ids.append(photo.id)
        traits.append(traits_of(photo, training_skus))
    slicings = slice_by_traits(test, traits, replicates=gate.replicates, seed=gate.seed)
    decision = decide(test, champion, gate, not_compared)
    if decision.reasons:
        decision = dataclasses.replace(decision, where_to_look=(*decision.where_to_look, *_weak_slices(slicings)))
    shares = prior_baseline(labels, test)
    return Evaluation(
        model=measured("this model", test),
        baselines=(
            measured("always the majority", majority_baseline(labels, test)),
            measured("class priors", shares),
        ),
        champion=None if champion is None else measured("champion", champion),
        slicings=slicings,
        temperature=temperature,
        trust=trust_in(test, shares, replicates=gate.replicates, seed=gate.seed),
        decision=decision,
        lineage=dict(lineage or {}),
        training_labels=labels,
        ids=tuple(ids),
    )


def _measured(name: str, predictions: Predictions, gate: GateSettings) -> Measured:
    draws = replicate_metrics(predictions, replicates=gate.replicates, seed=gate.seed)
    blocks = len(np.unique(predictions.blocks))
    return Measured(
        name=name,
        predictions=predictions,
        metrics=measure(predictions),
        intervals={metric: interval(values, blocks=blocks) for metric, values in draws.scalars()},
        class_intervals={
            metric: tuple(interval(column, blocks=blocks) for column in values.T)
            for metric, values in draws.per_class()
        },
    )


def _weak_slices(slicings: Sequence[Slicing]) -> tuple[str, ...]:
    """The slices that are worse than the whole beyond chance, worst first; quantity is named by the gate itself."""
    weak = [
        (float(part.metrics.accuracy), slicing.by, part)
        for slicing in slicings
        if slicing.by != "quantity"
        for part in slicing.slices
        if part.weak
    ]
    weak.sort(key=lambda entry: entry[0])
    return tuple(
        f"{by} {part.name}: accuracy {accuracy:.4f} on {part.photos} photos" for accuracy, by, part in weak[:3]
    )
