"""The rules that stop trials, on curves alone: which trials stop, when, and what a bracket guarantees."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from local_aws.tuning.stopping import REDUCTION, Hyperband, MedianRule, rule_of

LOSSES = st.floats(0, 10, allow_nan=False)
BANDS = st.tuples(st.integers(1, 9), st.integers(2, 300)).filter(lambda pair: pair[0] < pair[1])


@given(curves=st.lists(st.lists(LOSSES, min_size=1, max_size=6), min_size=1, max_size=6))
def test_the_median_rule_is_the_one_that_aws_documents(curves: list[list[float]]) -> None:
    epoch = len(curves[0])
    averages = [sum(curve[:epoch]) / epoch for curve in curves[1:] if len(curve) >= epoch]
    expected = bool(averages) and curves[0][-1] > statistics.median(averages)
    close = averages and abs(curves[0][-1] - statistics.median(averages)) < 1e-9
    assume(not close)
    assert MedianRule().stops(0, curves) is expected


def test_nobody_is_stopped_who_cannot_be_compared() -> None:
    assert not MedianRule().stops(0, [[9.0]])
    assert not MedianRule().stops(0, [[9.0, 9.0], [0.1]])


@given(band=BANDS)
def test_a_bracket_with_more_rungs_has_more_trials_and_starts_lower(band: tuple[int, int]) -> None:
    rule = Hyperband(*band)
    brackets: dict[int, list[int]] = {}
    for trial in range(400):
        rungs, number = rule.bracket(trial)
        brackets.setdefault(number, []).append(rungs)
    first_round = [brackets[number] for number in range(min(rule.deepest + 1, len(brackets)))]
    assert [rungs[0] for rungs in first_round] == list(range(rule.deepest, -1, -1))[: len(first_round)]
    for full in first_round[:-1]:
        assert len(set(full)) == 1 and len(full) >= REDUCTION ** full[0]
        marks = rule.rungs(full[0])
        assert list(marks) == sorted(marks) and all(rule.least <= mark < rule.most for mark in marks)


@given(band=BANDS, losses=st.lists(LOSSES, min_size=2, max_size=40, unique=True))
def test_the_best_trial_of_a_bracket_is_never_stopped_and_no_trial_before_its_least(
    band: tuple[int, int], losses: list[float]
) -> None:
    """Trials run side by side, each with one loss throughout."""
    rule = Hyperband(*band)
    curves: list[list[float]] = [[] for _ in losses]
    stopped: dict[int, int] = {}
    for epoch in range(1, rule.most + 1):
        running = [trial for trial in range(len(losses)) if trial not in stopped]
        for trial in running:
            curves[trial].append(losses[trial])
        for trial in running:
            if rule.stops(trial, curves):
                stopped[trial] = epoch
    assert all(rule.least <= epoch < rule.most for epoch in stopped.values())
    for number in {rule.bracket(trial)[1] for trial in range(len(losses))}:
        members = [trial for trial in range(len(losses)) if rule.bracket(trial)[1] == number]
        best = min(members, key=lambda trial: losses[trial])
        assert best not in stopped
        survivors = [trial for trial in members if trial not in stopped]
        expected = len(members)
        for _ in rule.rungs(rule.bracket(best)[0]):
            expected = max(1, expected // REDUCTION)
        assert len(survivors) == expected, "a third of those that reach a rung pass it"
        assert sorted(survivors, key=lambda trial: losses[trial]) == sorted(members, key=lambda t: losses[t])[:expected]


def test_a_search_says_which_rule_it_wants() -> None:
    assert rule_of({"Strategy": "Random"}, {}) is None
    assert rule_of({"Strategy": "Bayesian", "TrainingJobEarlyStoppingType": "Auto"}, {}) == MedianRule()
    given_range = {"HyperbandStrategyConfig": {"MinResource": 2, "MaxResource": 9}}
    assert rule_of({"Strategy": "Hyperband", "StrategyConfig": given_range}, {}) == Hyperband(2, 9)


@pytest.mark.parametrize("name", ["epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs"])
def test_hyperband_finds_the_epochs_among_the_hyperparameters(name: str) -> None:
    assert rule_of({"Strategy": "Hyperband"}, {name: '"27"', "lr": "1"}) == Hyperband(1, 27)
