"""The search behind tuning jobs: inside the ranges, the same for the same seed, and better than luck."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.tuning.search import suggest
from local_aws.tuning.space import CategoricalParameter, NumberParameter, TriedPoint

BATCHES = ("32", "64", "128", "256", "512")
SPACE = (NumberParameter("lr", 0.001, 0.1, "Logarithmic"), CategoricalParameter("batch-size", BATCHES))


@st.composite
def numbers(draw: st.DrawFn) -> NumberParameter:
    scaling = draw(st.sampled_from(["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]))
    top = 0.999 if scaling == "ReverseLogarithmic" else 1e6
    low = draw(st.floats(1e-6, top, allow_subnormal=False))
    high = draw(st.floats(low, top))
    return NumberParameter("x", low, high, scaling)


@given(numbers(), st.integers(0, 2**32 - 1))
def test_samples_lie_in_their_range_and_in_the_unit_cube(parameter: NumberParameter, seed: int) -> None:
    value = parameter.sample(np.random.default_rng(seed))
    assert parameter.low <= float(value) <= parameter.high
    assert all(0 <= x <= 1 for x in parameter.encode(value))


@given(st.integers(-50, 50), st.integers(0, 100), st.integers(0, 2**32 - 1))
def test_integers_are_whole_and_in_range(low: int, span: int, seed: int) -> None:
    value = NumberParameter("n", low, low + span, "Linear", integer=True).sample(np.random.default_rng(seed))
    assert low <= int(value) <= low + span


@settings(max_examples=25)
@given(st.sampled_from(["Random", "Bayesian"]), st.integers(0, 10**6), st.integers(0, 12))
def test_equal_histories_give_equal_suggestions(strategy: str, seed: int, count: int) -> None:
    history: list[TriedPoint] = []
    for index in range(count):
        values = suggest("Random", SPACE, history, seed)
        assert values is not None
        history.append(TriedPoint(values, None if index % 4 == 3 else float(index)))
    first = suggest(strategy, SPACE, history, seed)
    assert first == suggest(strategy, SPACE, list(history), seed)
    assert first is not None
    assert 0.001 <= float(first["lr"]) <= 0.1
    assert first["batch-size"] in BATCHES


def test_logarithmic_samples_fill_the_decades_evenly() -> None:
    parameter = SPACE[0]
    generator = np.random.default_rng(0)
    low = sum(float(parameter.sample(generator)) < 0.01 for _ in range(2000))
    assert 850 < low < 1150


def test_grid_visits_every_combination_once() -> None:
    space = (CategoricalParameter("a", ("1", "2")), CategoricalParameter("b", ("x", "y", "z")))
    trials: list[TriedPoint] = []
    while (values := suggest("Grid", space, trials, 0)) is not None:
        trials.append(TriedPoint(values, 0.0))
    assert len({tuple(trial.values.items()) for trial in trials}) == len(trials) == 6


def _loss(values: dict[str, str]) -> float:
    """A bowl with its lowest point at lr = 0.02 and batch size 128."""
    return (math.log10(float(values["lr"])) - math.log10(0.02)) ** 2 + abs(BATCHES.index(values["batch-size"]) - 2) / 10


def _best_after(strategy: str, seed: int, count: int) -> float:
    trials: list[TriedPoint] = []
    for _ in range(count):
        values = suggest(strategy, SPACE, trials, seed)
        assert values is not None
        trials.append(TriedPoint(values, _loss(values)))
    return min(trial.loss for trial in trials if trial.loss is not None)


def test_bayesian_search_beats_luck() -> None:
    seeds = range(8)
    bayesian = np.array([_best_after("Bayesian", seed, 15) for seed in seeds])
    random = np.array([_best_after("Random", seed, 15) for seed in seeds])
    assert np.median(bayesian) < np.median(random)
    assert (bayesian <= random).sum() >= 5


def test_running_trials_are_not_suggested_again() -> None:
    trials = [TriedPoint(values, _loss(values)) for values in ({"lr": "0.001", "batch-size": "32"},)]
    for index in range(10):
        values = suggest("Bayesian", SPACE, trials, 3)
        assert values is not None
        assert values not in [trial.values for trial in trials]
        trials.append(TriedPoint(values, _loss(values) if index % 2 else None))
