"""Metrics against scikit-learn's on random inputs, and properties of metrics."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.count_metrics import (
    CALIBRATION_BINS,
    BlockSums,
    Predictions,
    confusion_matrix,
    majority_baseline,
    measure,
    metrics_of_sums,
    prior_baseline,
)
from evaluation.model_quality import model_quality

CLASSES = (1, 2, 3, 4, 5)


def random_predictions(seed: int, photos: int, sharpness: float = 1.0, blocks: int = 7) -> Predictions:
    """Probabilities that lean towards the label by `sharpness`; photos fall into `blocks` blocks."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(1, 6, photos)
    logits = generator.normal(size=(photos, 5))
    logits[np.arange(photos), labels - 1] += sharpness
    exponentials = np.exp(logits)
    return Predictions.of(
        labels,
        exponentials / exponentials.sum(axis=1, keepdims=True),
        generator.integers(0, blocks, photos) * 100,
        classes=CLASSES,
    )


random_sets = st.builds(
    random_predictions, st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(-1, 4), st.integers(1, 40)
)


@given(random_sets)
def test_agrees_with_scikit_learn(predictions: Predictions) -> None:
    from sklearn import metrics as reference  # type: ignore[import-untyped]  # a second, for all who collect this file

    ours = measure(predictions)
    labels, counts = predictions.labels, predictions.counts
    present = np.unique(labels)
    assert ours.accuracy == pytest.approx(reference.accuracy_score(labels, counts))
    assert ours.balanced_accuracy == pytest.approx(
        reference.recall_score(labels, counts, labels=present, average="macro", zero_division=0)
    )
    assert ours.rmse == pytest.approx(np.sqrt(reference.mean_squared_error(labels, counts)))
    assert ours.mae == pytest.approx(reference.mean_absolute_error(labels, counts))
    assert ours.bias == pytest.approx(np.mean(counts - labels))
    assert ours.rmse_expected == pytest.approx(
        np.sqrt(reference.mean_squared_error(labels, predictions.expected_counts))
    )
    assert ours.log_loss == pytest.approx(reference.log_loss(labels, predictions.probabilities, labels=list(CLASSES)))
    assert ours.macro_f1 == pytest.approx(
        reference.f1_score(labels, counts, labels=present, average="macro", zero_division=0)
    )
    assert ours.within_one == pytest.approx(np.mean(np.abs(labels - counts) <= 1))
    np.testing.assert_array_equal(
        confusion_matrix(predictions), reference.confusion_matrix(labels, counts, labels=list(CLASSES))
    )
    precision, recall, _, _ = reference.precision_recall_fscore_support(
        labels, counts, labels=list(CLASSES), zero_division=np.nan
    )
    np.testing.assert_allclose(ours.precision, precision)
    np.testing.assert_allclose(ours.recall, recall)
    for column, count in enumerate(CLASSES):
        assert ours.class_accuracy[column] == pytest.approx(reference.accuracy_score(labels == count, counts == count))


@given(random_sets)
def test_calibration_error_is_the_weighted_gap_of_the_bins(predictions: Predictions) -> None:
    confidence = predictions.probabilities.max(axis=1)
    expected = 0.0
    for low in np.arange(CALIBRATION_BINS) / CALIBRATION_BINS:
        inside = (confidence >= low) & (confidence < low + 1 / CALIBRATION_BINS)
        if low + 1 / CALIBRATION_BINS >= 1:
            inside |= confidence == 1
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - predictions.correct[inside].mean())
    assert measure(predictions).calibration_error == pytest.approx(expected, abs=1e-6)


@given(random_sets)
def test_block_sums_lose_nothing(predictions: Predictions) -> None:
    sums = BlockSums.of(predictions)
    assert sums.table[:, :25].sum() == len(predictions.labels)
    stacked = metrics_of_sums(np.stack([sums.total(), sums.total()]), CLASSES)
    whole = measure(predictions)
    for (name, pair), (_, single) in zip(stacked.scalars(), whole.scalars(), strict=True):
        np.testing.assert_array_equal(pair, [single, single], err_msg=name)


def test_baselines_say_what_the_training_split_says() -> None:
    test = random_predictions(3, 400)
    training = np.array([3] * 6 + [2] * 3 + [5])
    majority, prior = majority_baseline(training, test), prior_baseline(training, test)
    assert set(majority.counts.tolist()) == {3}
    np.testing.assert_allclose(prior.probabilities[0], [0, 0.3, 0.6, 0, 0.1])
    assert measure(majority).accuracy == measure(prior).accuracy == np.mean(test.labels == 3)


def test_a_class_never_predicted_has_no_precision() -> None:
    certain = np.tile([0.0, 0.0, 1.0, 0.0, 0.0], (4, 1))
    metrics = measure(Predictions.of([1, 2, 3, 3], certain, classes=CLASSES))
    assert np.isnan(metrics.precision[0]) and np.isnan(metrics.recall[4])
    assert metrics.balanced_accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 5)), "labels are empty"),
        ([1, 2], np.full((1, 5), 0.2), "shape"),
        ([6], np.full((1, 5), 0.2), "not among the classes"),
        ([1], np.full((1, 5), 0.3), "sum to 1"),
        ([1], np.array([[1.2, -0.2, 0, 0, 0]]), "not negative"),
        ([1], np.array([[np.nan, 1, 0, 0, 0]]), "finite"),
    ],
)
def test_what_cannot_be_measured_is_named(labels: list[int], probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictions.of(labels, probabilities, classes=CLASSES)


@given(random_sets)
def test_model_quality_json_agrees_with_scikit_learn(predictions: Predictions) -> None:
    from sklearn import metrics as reference

    answer = model_quality(predictions, training_labels=predictions.labels, replicates=20)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    labels, counts = predictions.labels, predictions.counts
    for name, beta in (("f0_5", 0.5), ("f1", 1.0), ("f2", 2.0)):
        expected = reference.fbeta_score(labels, counts, beta=beta, average="weighted", zero_division=0)
        assert answer[f"weighted_{name}"]["value"] == pytest.approx(expected)
    assert answer["accuracy"]["value"] == pytest.approx(np.mean(labels == counts))
    assert answer["accuracy_best_constant_classifier"]["value"] == pytest.approx(
        np.bincount(labels).max() / len(labels)
    )
    assert sum(answer["confusion_matrix"]["3"].values()) == np.sum(labels == 3)
