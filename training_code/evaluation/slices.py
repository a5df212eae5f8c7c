"""Slices: the same metrics over parts of the test split, to find where a model is weak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import REPLICATES, Interval, interval, replicate_metrics
from evaluation.count_metrics import CountMetrics, Predictions, measure
from evaluation.photo_traits import PhotoTraits

QUANTILES = 4
# Below this many photos a bootstrap interval can be a single point, and "beyond chance" would mean nothing.
LEAST_PHOTOS_TO_BE_WEAK = 20
UNKNOWN = "not recorded"


@dataclass(frozen=True, eq=False)
class Slice:
    """One part of the test split."""

    name: str
    photos: int
    metrics: CountMetrics
    accuracy_interval: Interval
    weak: bool
    """Whether its accuracy is below that of the whole split beyond chance (its interval ends below it)."""

    @property
    def has_interval(self) -> bool:
        """Whether it has photos of enough blocks for an interval."""
        return self.accuracy_interval.is_known


@dataclass(frozen=True, eq=False)
class Slicing:
    """All slices by one trait; together they hold every photo once."""

    by: str
    slices: tuple[Slice, ...]


def slice_by_traits(
    predictions: Predictions, traits: Sequence[PhotoTraits], *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Slicing, ...]:
    """Cut `predictions` by quantity and by the traits of its photos (same order).

    Numeric traits are cut at the quartiles of this split. A trait that is recorded for no photo gives no slicing.
    """
    if len(traits) != len(predictions.labels):
        raise ValueError(f"{len(traits)} traits for {len(predictions.labels)} photos")
    overall = float(measure(predictions).accuracy)

    def cut(by: str, names: NDArray[np.object_], order: Sequence[str]) -> Slicing:
        parts = []
        for name in order:
            part = predictions.subset(names == name)
            draws = replicate_metrics(part, replicates=replicates, seed=seed).accuracy
            found = interval(draws, blocks=len(np.unique(part.blocks)))
            weak = len(part.labels) >= LEAST_PHOTOS_TO_BE_WEAK and found.high < overall
            parts.append(Slice(name, len(part.labels), measure(part), found, weak))
        return Slicing(by, tuple(parts))

    return tuple(cut(by, names, order) for by, names, order in _cuts(predictions, traits))


def _cuts(
    predictions: Predictions, traits: Sequence[PhotoTraits]
) -> Iterator[tuple[str, NDArray[np.object_], Sequence[str]]]:
    """Name of the trait, the slice of each photo ([n]), and the slices that have photos, in reading order."""
    quantities = np.array(
        [f"{label} {'item' if label == 1 else 'items'}" for label in predictions.labels], dtype=object
    )
    yield "quantity", quantities, sorted(set(quantities.tolist()))
    for by, values in (
        ("SKU repetition", [trait.repetition for trait in traits]),
        ("SKU novelty", [trait.seen_in_training for trait in traits]),
    ):
        names = np.array([UNKNOWN if value is None else value for value in values], dtype=object)
        if set(names.tolist()) != {UNKNOWN}:
            yield by, names, sorted(set(names.tolist()), key=lambda name: (name == UNKNOWN, name))
    for by, unit, numbers in (
        ("photo size", "MP", [trait.megapixels for trait in traits]),
        ("sharpness", "", [trait.sharpness for trait in traits]),
        ("brightness", "", [trait.brightness for trait in traits]),
    ):
        measured = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
        if not np.isnan(measured).all():
            yield by, *_quantile_names(measured, unit)


def _quantile_names(values: NDArray[np.float64], unit: str) -> tuple[NDArray[np.object_], list[str]]:
    """Name each value by the quantile range it falls into; equal edges merge, missing values form a slice."""
    known = ~np.isnan(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, QUANTILES + 1)))
    inner = edges[1:-1]
    names = np.full(len(values), UNKNOWN, dtype=object)
    place = np.searchsorted(inner, values, side="right")
    order = []
    for number in range(len(inner) + 1):
        low, high = edges[number], edges[min(number + 1, len(edges) - 1)]
        name = f"{number + 1}: {low:.3g} to {high:.3g} {unit}".rstrip()
        chosen = known & (place == number)
        if chosen.any():
            names[chosen] = name
            order.append(name)
    return names, order if known.all() else [*order, UNKNOWN]
