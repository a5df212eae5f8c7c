"""Temperature scaling finds a known temperature and never harms the photos that it is fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

from evaluation.calibration import COLDEST, HOTTEST, fit_temperature, softmax
from evaluation.count_metrics import Predictions, measure

CLASSES = (1, 2, 3, 4, 5)


def truthful(seed: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, 5] and labels drawn from exactly the probabilities they mean."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=1.5, size=(photos, 5))
    drawn = (softmax(logits).cumsum(axis=1) < generator.random((photos, 1))).sum(axis=1)
    return logits, np.clip(drawn, 0, 4) + 1


@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 2.5])
def test_finds_the_temperature_that_was_hidden(overconfidence: float) -> None:
    logits, labels = truthful(0, 20_000)
    fitted = fit_temperature(logits * overconfidence, labels, classes=CLASSES)
    assert fitted.value == pytest.approx(overconfidence, rel=0.05)
    held_out_logits, held_out = truthful(1, 20_000)
    scaled = softmax(held_out_logits * overconfidence, fitted.value)
    assert measure(Predictions.of(held_out, scaled, classes=CLASSES)).calibration_error < 0.01


@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.floats(0.2, 5))
def test_agrees_with_scipy_and_never_harms(seed: int, photos: int, scale: float) -> None:
    logits, labels = truthful(seed, photos)
    logits = logits * scale
    fitted = fit_temperature(logits, labels, classes=CLASSES)
    assert fitted.log_loss_after <= fitted.log_loss_before + 1e-9

    def log_loss(log_temperature: float) -> float:
        chosen = softmax(logits, float(np.exp(log_temperature)))[np.arange(photos), labels - 1]
        return float(-np.log(chosen.clip(1e-300)).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    assert log_loss(float(np.log(fitted.value))) <= found.fun + 1e-6


def test_scaling_never_changes_the_answer() -> None:
    logits, _ = truthful(2, 500)
    np.testing.assert_array_equal(softmax(logits, 3.3).argmax(axis=1), softmax(logits).argmax(axis=1))


def test_a_fit_ends_at_its_bound_where_there_is_nothing_to_fit() -> None:
    logits, labels = truthful(3, 50)
    perfect = np.zeros((50, 5))
    perfect[np.arange(50), labels - 1] = 1
    assert fit_temperature(perfect, labels, classes=CLASSES).value == pytest.approx(COLDEST, rel=1e-3)
    assert 1.001 * COLDEST < fit_temperature(logits, labels, classes=CLASSES).value < 0.999 * HOTTEST


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="temperature must be positive"):
        softmax([[1.0, 2]], 0)
    with pytest.raises(ValueError, match="logits must be finite"):
        fit_temperature([[np.inf, 0, 0, 0, 0]], [1], classes=CLASSES)
