"""Intervals cover the true value as often as they claim; the gate passes only models shown to be good enough."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.bootstrap import interval, replicate_metrics, tail
from evaluation.count_metrics import Predictions, measure
from evaluation.gate import GateSettings, decide

CLASSES = (1, 2, 3, 4, 5)
_SURE = np.eye(5)[[1, 0]]
"""Probabilities of an answer that is wrong for one item, and of one that is right."""
Array = np.ndarray


def model(labels: Array, right: Array, blocks: Array | None = None) -> Predictions:
    """A model that is right for the photos in `right`, and wrong by one class for the others."""
    said = np.where(right, labels, np.where(labels == 5, 4, labels + 1))
    probabilities = np.full((len(labels), 5), 0.05)
    probabilities[np.arange(len(labels)), said - 1] = 0.8
    return Predictions.of(labels, probabilities, blocks, classes=CLASSES)


def test_same_seed_same_replicates_and_other_seed_others() -> None:
    generator = np.random.default_rng(0)
    predictions = model(generator.integers(1, 6, 200), generator.random(200) < 0.5)
    first = replicate_metrics(predictions, replicates=50, seed=1).accuracy
    np.testing.assert_array_equal(first, replicate_metrics(predictions, replicates=50, seed=1).accuracy)
    assert not np.array_equal(first, replicate_metrics(predictions, replicates=50, seed=2).accuracy)


def test_spread_of_independent_photos_is_the_binomial_one() -> None:
    generator = np.random.default_rng(1)
    predictions = model(generator.integers(1, 6, 2000), generator.random(2000) < 0.4)
    accuracy = float(measure(predictions).accuracy)
    found = interval(replicate_metrics(predictions, replicates=4000).accuracy).standard_deviation
    assert found == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 2000), rel=0.05)


def test_spread_grows_with_blocks_of_like_photos() -> None:
    """Twenty photos of one bin are one observation: the interval must be about sqrt(20) times as wide."""
    generator = np.random.default_rng(2)
    labels = np.repeat(generator.integers(1, 6, 100), 20)
    right = np.repeat(generator.random(100) < 0.5, 20)
    by_photo = interval(replicate_metrics(model(labels, right)).accuracy).standard_deviation
    by_block = interval(replicate_metrics(model(labels, right, np.repeat(np.arange(100), 20))).accuracy)
    assert by_block.standard_deviation / by_photo == pytest.approx(np.sqrt(20), rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        predictions = model(generator.integers(1, 6, 150), generator.random(150) < 0.55)
        found = interval(replicate_metrics(predictions, replicates=300, seed=seed).accuracy)
        covered += found.low <= 0.55 <= found.high
    assert 0.88 <= covered / 120 <= 0.99


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=40)
def test_replicates_stay_within_what_a_metric_can_be(photos: int, blocks: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    predictions = model(
        generator.integers(1, 6, photos), generator.random(photos) < 0.5, generator.integers(0, blocks, photos)
    )
    draws = replicate_metrics(predictions, replicates=30, seed=seed)
    assert ((draws.accuracy >= 0) & (draws.accuracy <= 1)).all()
    assert ((draws.within_one >= draws.accuracy - 1e-12) & (draws.rmse <= 4)).all()


def test_no_replicates_is_refused() -> None:
    with pytest.raises(ValueError, match="replicates must be at least 1"):
        replicate_metrics(model(np.array([1]), np.array([True])), replicates=0)


def paired_models(photos: int, champion: float, gain: float, seed: int = 0) -> tuple[Predictions, Predictions]:
    """A challenger that differs from its champion on a fifth of the photos, ahead by exactly `gain` overall."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(1, 6, photos)
    champion_right = np.zeros(photos, dtype=bool)
    champion_right[: round(champion * photos)] = True
    generator.shuffle(champion_right)
    challenger_right = champion_right.copy()
    swaps = round(0.1 * photos)
    lost = generator.permutation(np.flatnonzero(champion_right))[:swaps]
    won = generator.permutation(np.flatnonzero(~champion_right))[: swaps + round(gain * photos)]
    challenger_right[lost], challenger_right[won] = False, True
    return model(labels, challenger_right), model(labels, champion_right)


def test_the_first_model_needs_the_threshold_only() -> None:
    challenger, _ = paired_models(500, 0.5, 0)
    assert decide(challenger, None, GateSettings(accuracy_threshold=0.5)).passed
    refused = decide(challenger, None, GateSettings(accuracy_threshold=0.55))
    assert not refused.passed and refused.not_worse_than_champion
    assert "0.0500 below the threshold" in refused.reasons[0]
    assert any("most often taken for" in hint for hint in refused.where_to_look)


def test_a_worse_challenger_is_refused_with_the_difference() -> None:
    challenger, champion = paired_models(1000, 0.6, -0.06)
    decision = decide(challenger, champion, GateSettings(accuracy_threshold=0.1))
    assert decision.above_threshold and not decision.not_worse_than_champion
    assert "0.0600 below the champion's 0.6000" in decision.reasons[0]
    assert "against the champion" in decision.where_to_look[0]


def test_a_lucky_challenger_is_refused_and_a_better_one_is_not() -> None:
    """One photo of two hundred more is luck; a tenth of two thousand more is not."""
    lucky, champion = paired_models(200, 0.5, 0.005)
    refused = decide(lucky, champion, GateSettings(accuracy_threshold=0.1))
    assert refused.comparison is not None and refused.comparison.accuracy_difference > 0
    assert not refused.passed and "may be luck" in refused.reasons[0]
    better, champion = paired_models(2000, 0.5, 0.1)
    assert decide(better, champion, GateSettings(accuracy_threshold=0.1, margin=0.0)).passed


@pytest.mark.parametrize("threshold", [0.1, 0.9])
@pytest.mark.parametrize("gain", [-0.1, 0.1])
def test_each_failed_condition_has_one_reason_and_a_passed_gate_none(threshold: float, gain: float) -> None:
    """Also where both fail."""
    challenger, champion = paired_models(2000, 0.5, gain)
    decision = decide(challenger, champion, GateSettings(accuracy_threshold=threshold))
    assert len(decision.reasons) == (threshold > 0.5) + (gain < 0)
    assert decision.passed is (not decision.reasons) and bool(decision.where_to_look) is bool(decision.reasons)


def test_the_champion_itself_is_not_worse_than_itself() -> None:
    champion, _ = paired_models(300, 0.5, 0)
    assert decide(champion, champion, GateSettings(accuracy_threshold=0.1, margin=0.0)).passed


def _in_blocks(predictions: Predictions, blocks: int) -> Predictions:
    """The same answers, of photos in so many blocks of ids."""
    of = np.arange(len(predictions.labels)) % blocks
    return Predictions.of(predictions.labels, predictions.probabilities, of, classes=predictions.classes)


@pytest.mark.parametrize(("blocks", "stated"), [(1, False), (4, False), (5, True)])
def test_fewer_than_five_blocks_state_no_bound(blocks: int, stated: bool) -> None:
    """One block drawn again and again is always the same: its bound would claim that there is no chance."""
    ahead, champion = (_in_blocks(found, blocks) for found in paired_models(1000, 0.5, 0.1))
    decision = decide(ahead, champion, GateSettings(accuracy_threshold=0.1))
    assert decision.passed and decision.comparison is not None
    assert math.isfinite(decision.comparison.lower_bound) is stated
    assert math.isfinite(decision.comparison.probability_better) is stated
    assert ("the difference itself decides and may be luck" in decision.no_bound) is not stated


def test_without_a_bound_the_difference_decides_and_a_refusal_says_so() -> None:
    worse, champion = (_in_blocks(found, 3) for found in paired_models(1000, 0.6, -0.06))
    decision = decide(worse, champion, GateSettings(accuracy_threshold=0.1))
    assert not decision.passed
    assert "0.0600 below the champion's 0.6000, and the margin 0.0100 allows no more" in decision.reasons[0]
    assert "the test photos are of 3 blocks of ids and a 95% bound needs 5" in decision.reasons[0]
    assert decide(champion, champion, GateSettings(accuracy_threshold=0.1, margin=0.0)).passed


@pytest.mark.parametrize("right", [4, 31, 60, 100])
def test_a_challenger_that_is_worse_by_the_margin_passes(right: int) -> None:
    """One photo of a hundred: 0.31 - 0.3 is a little more than 0.01 in binary numbers. Two photos are too many."""
    labels = np.arange(100) % 5 + 1
    champion, worse, too_bad = (
        _in_blocks(model(labels, np.arange(100) < hits), 2) for hits in (right, right - 1, right - 2)
    )
    settings = GateSettings(accuracy_threshold=0, margin=0.01, replicates=5)
    assert decide(worse, champion, settings).passed
    assert not decide(too_bad, champion, settings).passed


# Of Student's t, from its tables.
@pytest.mark.parametrize(
    ("share", "blocks", "t"), [(0.95, 5, 2.132), (0.975, 5, 2.776), (0.95, 10, 1.833), (0.975, 31, 2.042)]
)
def test_bounds_of_few_blocks_are_as_far_as_students(share: float, blocks: int, t: float) -> None:
    reached = NormalDist().inv_cdf(tail(share, blocks)) * math.sqrt((blocks - 1) / blocks)
    assert reached == pytest.approx(t, rel=0.01)
    assert tail(1 - share, blocks) == pytest.approx(1 - tail(share, blocks))
    assert tail(share, 5) > tail(share, 50) > tail(share, 5000) == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("blocks", [5, 10])
def test_of_challengers_that_are_worse_by_the_margin_one_in_twenty_passes(blocks: int) -> None:
    """Also where blocks are few: by the plain quantile of the replicates, eleven in a hundred passed at five blocks."""
    generator = np.random.default_rng(blocks)
    settings = GateSettings(accuracy_threshold=0, margin=0.02, replicates=1000)
    of = np.repeat(np.arange(blocks), 53)
    labels = np.ones(len(of), dtype=np.int64)
    passed, times = 0, 500
    for _ in range(times):
        drawn = generator.random(len(of))
        # The models are never right for the same photo; the champion is for 0.02 more of them.
        challenger, champion = (
            Predictions.of(labels, _SURE[right.astype(int)], of, classes=CLASSES)
            for right in (drawn < 0.2, (drawn >= 0.2) & (drawn < 0.42))
        )
        passed += decide(challenger, champion, settings).not_worse_than_champion
    assert passed / times == pytest.approx(0.05, abs=0.02)


def test_more_confidence_needs_more_blocks() -> None:
    settings = GateSettings(accuracy_threshold=0.1, confidence=0.99)
    six, seven = (_in_blocks(paired_models(1000, 0.5, 0.1)[0], blocks) for blocks in (6, 7))
    assert "a 99% bound needs 7" in decide(six, six, settings).no_bound
    assert decide(seven, seven, settings).no_bound == ""


def test_equal_challengers_rarely_pass_without_a_margin() -> None:
    """One-sided 95%: of challengers that are in truth no better, about one in twenty slips through."""
    passed = 0
    for seed in range(80):
        generator = np.random.default_rng(seed)
        labels = generator.integers(1, 6, 400)
        challenger, champion = (model(labels, generator.random(400) < 0.5) for _ in range(2))
        gate = GateSettings(accuracy_threshold=0.0, margin=0.0, replicates=200, seed=seed)
        passed += decide(challenger, champion, gate).passed
    assert passed / 80 <= 0.15


def test_models_measured_on_different_photos_cannot_be_compared() -> None:
    first, _ = paired_models(100, 0.5, 0)
    other, _ = paired_models(100, 0.5, 0, seed=9)
    with pytest.raises(ValueError, match="same photos"):
        decide(first, other, GateSettings(accuracy_threshold=0.1))


@pytest.mark.parametrize(
    ("field", "value"), [("accuracy_threshold", 40.0), ("margin", -0.1), ("confidence", 0.4), ("confidence", 1.0)]
)
def test_settings_out_of_range_name_their_field(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(GateSettings(accuracy_threshold=0.5), **{field: value})  # type: ignore[arg-type]
