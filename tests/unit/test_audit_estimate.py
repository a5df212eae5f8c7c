"""The estimated share of wrong records: near the known share, which its interval contains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binventory.audit.estimate import WrongShare, block_of, estimate_wrong_share, expected_finds, posterior

CLASSES = 5


def audited(seed: int, bins: int, share: float, sharpness: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """(probability of the record [n], whether it is wrong [n]) under a calibrated model and a known share."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=sharpness, size=(bins, CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (probabilities.cumsum(axis=1) < generator.random((bins, 1))).sum(axis=1).clip(0, CLASSES - 1)
    wrong = generator.random(bins) < share
    recorded = np.where(wrong, (truth + generator.integers(1, CLASSES, bins)) % CLASSES, truth)
    return probabilities[np.arange(bins), recorded], wrong


def estimate(probabilities: np.ndarray, replicates: int = 300) -> WrongShare:
    rows = ((f"{number:05d}", float(value)) for number, value in enumerate(probabilities))
    return estimate_wrong_share(rows, classes=CLASSES, replicates=replicates)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.3, 1.0])
def test_finds_a_known_share(share: float) -> None:
    found = estimate(audited(0, 30_000, share)[0])
    assert found.share == pytest.approx(share, abs=0.02)
    assert found.low <= share <= found.high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(40):
        found = estimate(audited(seed, 2000, 0.1)[0], replicates=100)
        held += found.low <= 0.1 <= found.high
    assert held >= 35


def test_an_unsure_model_widens_the_interval_and_does_not_accuse() -> None:
    """Half of such a model's records look improbable; none is wrong."""
    unsure = estimate(audited(1, 3000, 0.0, sharpness=0.3)[0])
    sure = estimate(audited(1, 3000, 0.0, sharpness=3)[0])
    assert unsure.low == 0 and unsure.high > 3 * sure.high
    uninformed = estimate(np.full(100, 1 / CLASSES))
    assert (uninformed.low, uninformed.high) == (0, 1)


def test_posteriors_are_calibrated_and_say_how_many_are_found() -> None:
    probabilities, wrong = audited(2, 40_000, 0.1)
    found = estimate(probabilities)
    chances = posterior(probabilities, found.share, CLASSES)
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1)):
        inside = (chances >= low) & (chances < high)
        assert wrong[inside].mean() == pytest.approx(chances[inside].mean(), abs=0.03)
    first = np.argsort(probabilities)[:2000]
    finds = expected_finds(probabilities[first], found)
    assert finds.low <= wrong[first].sum() <= finds.high
    assert finds.expected > 2 * finds.by_chance


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 1), st.integers(2, 20))
def test_improbable_records_are_never_less_suspect(values: list[float], share: float, classes: int) -> None:
    ordered = np.sort(values)
    chances = posterior(ordered, share, classes)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert (np.diff(chances) <= 1e-12).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=40)
def test_any_probabilities_give_an_ordered_interval(values: list[float]) -> None:
    found = estimate(np.array(values), replicates=20)
    assert 0 <= found.low <= found.share <= found.high <= 1 or found.low == pytest.approx(found.share, abs=1e-6)
    assert found.photos == len(values)


def test_neighbouring_ids_share_a_block() -> None:
    assert block_of("00200") == block_of("00299") == 2 != block_of("00300")
    assert block_of("bin-a") == block_of("bin-a")
    assert 0 <= block_of("9" * 30) < 4096


def test_nothing_to_estimate_is_reported() -> None:
    with pytest.raises(ValueError, match="no record was audited"):
        estimate_wrong_share([], classes=5)
    with pytest.raises(ValueError, match="at least 2"):
        estimate_wrong_share([("1", 0.5)], classes=1)
