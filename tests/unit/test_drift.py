"""Drift is found if there is some, and not otherwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift import (
    Answers,
    AnswerTally,
    Confidence,
    Shift,
    baseline_of,
    chi_square_quantile,
    confidence_shift,
    count_shift,
)

SHARES = st.lists(st.integers(1, 100), min_size=2, max_size=6).map(lambda parts: [p / sum(parts) for p in parts])


def answers(shares: list[float], photos: int, mean: float = 0.5, variance: float = 0.02) -> Answers:
    return Answers(photos, dict(enumerate(shares, start=1)), Confidence(mean, variance))


@given(shares=SHARES, photos=st.integers(30, 10_000))
def test_the_same_answers_are_no_drift(shares: list[float], photos: int) -> None:
    same = answers(shares, photos)
    assert count_shift(same, same, 0.2).size == pytest.approx(0, abs=1e-12)
    assert confidence_shift(same, same, 0.1).size == 0
    assert not count_shift(same, same, 0.2).found and not confidence_shift(same, same, 0.1).found


def test_drift_reaches_the_threshold_and_exceeds_chance() -> None:
    assert Shift(size=0.2, by_luck=0.1, threshold=0.2).found
    assert not Shift(size=0.19, by_luck=0.1, threshold=0.2).found
    assert not Shift(size=0.2, by_luck=0.2, threshold=0.1).found


def test_one_answer_for_all_photos_of_both_sides_is_no_drift() -> None:
    """There is no other count to move to: nothing is left to chance."""
    shift = count_shift(answers([1.0], 50), answers([1.0], 20), 0.2)
    assert (shift.size, shift.by_luck, shift.found) == (0, 0, False)


@given(shares=SHARES, photos=st.integers(1000, 100_000))
def test_one_count_for_everything_is_drift(shares: list[float], photos: int) -> None:
    always = answers([1.0] + [0.0] * (len(shares) - 1), photos)
    assert count_shift(answers(shares, photos), always, 0.2).found or shares[0] > 0.5


@given(seed=st.integers(0, 2**31), shares=SHARES)
def test_luck_is_seldom_taken_for_drift(seed: int, shares: list[float]) -> None:
    """Samples of the same distribution reach the limit of chance about once in a thousand draws."""
    draws = np.random.default_rng(seed)
    sample = [draws.multinomial(400, shares) / 400 for _ in range(2)]
    before, now = (answers(list(map(float, part)), 400) for part in sample)
    shift = count_shift(before, now, threshold=0.2)
    assert not shift.found


@pytest.mark.parametrize(("before", "now"), [(400, 400), (300, 3000), (3000, 300)])
def test_chance_is_what_samples_of_the_same_photos_reach_once_in_a_thousand_looks(before: int, now: int) -> None:
    """Neither more often, which would be false alarms, nor less often: then drift would be found too late."""
    random = np.random.default_rng(before)
    looks, shares = 20_000, [0.3, 0.25, 0.2, 0.15, 0.1]
    sizes = np.array([before, now])
    counts = [random.multinomial(size, shares, looks) / size for size in sizes]
    sure = [0.5 + random.normal(size=looks) * math.sqrt(0.02 / size) for size in sizes]
    by_count = by_confidence = 0
    for look in range(looks):
        then, today = (
            answers(part[look].tolist(), int(size), mean[look])
            for part, size, mean in zip(counts, sizes, sure, strict=True)
        )
        by_count += count_shift(then, today, 0).found
        by_confidence += confidence_shift(then, today, 0).found
    # Twenty are expected.
    assert 8 <= by_count <= 40 and 8 <= by_confidence <= 40


@pytest.mark.parametrize("degrees", [1, 2, 4, 5, 9])
def test_the_quantile_is_near_the_exact_one(degrees: int) -> None:
    """Against draws: the share of chi-square values above it is a thousandth, give or take a quarter."""
    values = np.random.default_rng(degrees).chisquare(degrees, 2_000_000)
    assert (values > chi_square_quantile(0.999, degrees)).mean() == pytest.approx(0.001, rel=0.25)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(0.2, 1)), min_size=1, max_size=60), st.integers(0, 60)
)  # the same photos in one line of the log or in two
def test_a_tally_does_not_care_how_the_lines_were_cut(photos: list[tuple[int, float]], cut: int) -> None:
    whole, parts = AnswerTally(), AnswerTally()
    for tally, pieces in ((whole, [photos]), (parts, [photos[:cut], photos[cut:]])):
        for piece in pieces:
            tally.add([count for count, _ in piece], [sure for _, sure in piece])
    one, two = whole.answers(), parts.answers()
    assert (one.photos, one.shares) == (two.photos, two.shares)
    assert one.confidence.mean == pytest.approx(two.confidence.mean)
    assert one.confidence.mean == pytest.approx(np.mean([sure for _, sure in photos]))
    assert one.confidence.variance == pytest.approx(np.var([sure for _, sure in photos]), abs=1e-9)


def test_a_photo_needs_a_count_and_a_confidence() -> None:
    with pytest.raises(ValueError, match="1 counts and 0 confidences"):
        AnswerTally().add([1], [])
    with pytest.raises(ValueError, match="no photo"):
        AnswerTally().answers()


EVALUATION: dict[str, Any] = {
    "binventory": {
        "classes": [1, 2],
        # Ones are always right; of twos a quarter is taken for one.
        "confusion": [[80, 0], [5, 15]],
        "confidence": {"1": {"mean": 0.9, "variance": 0.0}, "2": {"mean": 0.5, "variance": 0.01}},
    }
}


def test_the_baseline_is_what_the_model_answered_on_the_test_split() -> None:
    found = baseline_of(EVALUATION)
    assert found.photos == 100
    assert found.shares == {1: pytest.approx(0.85), 2: pytest.approx(0.15)}
    assert found.confidence.mean == pytest.approx(0.8 * 0.9 + 0.2 * 0.5)
    assert found.confidence.variance == pytest.approx(0.2 * 0.01 + 0.8 * 0.08**2 + 0.2 * 0.32**2)


def test_a_count_that_the_test_split_lacks_cannot_be_weighted() -> None:
    for bins in ({1: 0.5, 2: 0.4, 3: 0.1}, {1: 0.9, 6: 0.1}):
        with pytest.raises(ValueError, match=r"the test split has no photo with [36] items"):
            baseline_of(EVALUATION, bins)
    assert baseline_of(EVALUATION, {1: 0.5, 2: 0.5, 3: 0.0}) == baseline_of(EVALUATION, {1: 0.5, 2: 0.5})


def test_a_count_about_which_nobody_asks_weighs_nothing() -> None:
    assert baseline_of(EVALUATION, {2: 1.0}) == baseline_of(EVALUATION, {1: 0.0, 2: 1.0})


def test_a_count_without_a_photo_in_the_test_split_weighs_nothing() -> None:
    ours = EVALUATION["binventory"]
    wider = {
        "classes": [1, 2, 3],
        "confusion": [[80, 0, 0], [5, 15, 0], [0, 0, 0]],
        "confidence": {**ours["confidence"], "3": {"mean": 0.0, "variance": 0.0}},
    }
    found, narrow = baseline_of({"binventory": wider}), baseline_of(EVALUATION)
    assert found == Answers(narrow.photos, {**narrow.shares, 3: 0.0}, narrow.confidence)


def test_a_balanced_test_split_is_weighted_to_the_bins_that_are_asked_about() -> None:
    found = baseline_of(EVALUATION, {1: 0.5, 2: 0.5})
    assert found.shares == {1: pytest.approx(0.625), 2: pytest.approx(0.375)}
    assert found.confidence.mean == pytest.approx(0.7)
    assert math.fsum(found.shares.values()) == pytest.approx(1)


def test_weighted_photos_say_as_much_as_fewer_without_weights() -> None:
    """Else chance would be taken for drift: of twenty photos whose weight is half of all, and eighty others."""
    assert baseline_of(EVALUATION, {1: 0.5, 2: 0.5}).photos == 64
    assert baseline_of(EVALUATION, {1: 0.8, 2: 0.2}).photos == 100
    assert baseline_of(EVALUATION, {1: 0.0, 2: 1.0}).photos == 20


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 1.0])
def test_the_smallest_test_split_says_as_much_as_one_photo_at_least(share: float) -> None:
    """Chance is divided by this number."""
    confidence = {count: {"mean": 0.5, "variance": 0.0} for count in "12"}
    smallest = {"classes": [1, 2], "confusion": [[1, 0], [0, 1]], "confidence": confidence}
    assert 1 <= baseline_of({"binventory": smallest}, {1: share, 2: 1 - share}).photos <= 2


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_chance_is_seldom_taken_for_drift_whatever_the_weights(share: float) -> None:
    """Photos of the same kind on both sides, forty of each count in the test split."""
    random = np.random.default_rng(0)
    said = np.full((5, 5), 0.1) + 0.5 * np.eye(5)
    bins = {1: share, **dict.fromkeys(range(2, 6), (1 - share) / 4)}
    false = 0
    for _ in range(200):
        sure = random.beta(4, 3, (5, 40))
        parts = {str(count + 1): {"mean": row.mean(), "variance": row.var()} for count, row in enumerate(sure)}
        confusion = [random.multinomial(40, row).tolist() for row in said]
        ours = {"classes": [1, 2, 3, 4, 5], "confusion": confusion, "confidence": parts}
        live = AnswerTally()
        photos = random.multinomial(2000, list(bins.values()))
        answered = sum(random.multinomial(number, row) for number, row in zip(photos, said, strict=True))
        live.add(np.repeat(np.arange(1, 6), answered).tolist(), random.beta(4, 3, 2000).tolist())
        baseline, now = baseline_of({"binventory": ours}, bins), live.answers()
        false += count_shift(baseline, now, 0).found or confidence_shift(baseline, now, 0).found
    # Two looks of two hundred are more than one in a thousand, by chance.
    assert false <= 2
