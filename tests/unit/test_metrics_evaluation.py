"""The evaluation as a whole: its JSON, its slices, and its refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from binventory.report.page import verdict
from evaluation.calibration import reliability
from evaluation.count_metrics import Predictions, measure
from evaluation.gate import GateSettings
from evaluation.page import render_page
from evaluation.photo_traits import skus_of, traits_of
from evaluation.report import JSON_NAME, PAGE_NAME, to_json, write_report
from evaluation.slices import UNKNOWN
from evaluation.trust import trust_in
from evaluation.verdict import evaluate
from jobs.lineage import code_fingerprint, data_fingerprint
from shards import Sample
from tests.evaluated import drawn_photo, evaluated, samples


@pytest.fixture(scope="module")
def photos() -> list[Sample]:
    return samples(150)


def test_writes_json_for_the_pipeline_and_a_page_for_people(photos: list[Sample], tmp_path: Path) -> None:
    evaluation = evaluated(photos, replicates=200)
    write_report(tmp_path / "evaluation", evaluation, photos)
    document = json.loads((tmp_path / "evaluation" / JSON_NAME).read_text())
    accuracy = float(np.mean(evaluation.model.predictions.correct))
    assert document["multiclass_classification_metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    ours = document["binventory"]
    assert ours["gate"]["passed"] and ours["gate"]["not_worse_than_champion"]
    assert ours["model"]["accuracy"]["low"] <= accuracy <= ours["model"]["accuracy"]["high"]
    assert sum(map(sum, ours["confusion"])) == len(photos) == ours["photos"]
    assert ours["lineage"] == {"Code version": "0123abc", "Learning rate": "0.01"}
    assert "<script" not in (tmp_path / "evaluation" / PAGE_NAME).read_text()


def test_undefined_numbers_are_null_not_nan(photos: list[Sample]) -> None:
    document = to_json(evaluated(photos, replicates=50))
    majority = document["binventory"]["baselines"]["always the majority"]
    assert majority["classes"]["1"]["precision"]["value"] is None
    json.dumps(document, allow_nan=False)


def test_photos_of_two_blocks_give_figures_without_intervals(photos: list[Sample], tmp_path: Path) -> None:
    """Two blocks, drawn again and again, would say 0.0% to 0.0%."""
    few = [photo for photo in photos if int(photo.id) < 200]
    evaluation = evaluated(few, replicates=50)
    write_report(tmp_path, evaluation, few)
    accuracy = json.loads((tmp_path / JSON_NAME).read_text())["binventory"]["model"]["accuracy"]
    assert accuracy == {"value": pytest.approx(float(evaluation.model.metrics.accuracy)), "low": None, "high": None}
    page = (tmp_path / PAGE_NAME).read_text()
    assert "too few blocks for an interval" in page.partition("Confusion")[0]
    assert "n/a to n/a" not in page


def test_each_slicing_holds_every_photo_once(photos: list[Sample]) -> None:
    evaluation = evaluated(photos, replicates=50)
    right = evaluation.model.predictions.correct.sum()
    for slicing in evaluation.slicings:
        assert sum(part.photos for part in slicing.slices) == len(photos), slicing.by
        assert sum(part.photos * part.metrics.accuracy for part in slicing.slices) == pytest.approx(right)
    names = {slicing.by for slicing in evaluation.slicings}
    assert names == {"quantity", "SKU repetition", "SKU novelty", "sharpness", "brightness"}
    repetition = next(slicing for slicing in evaluation.slicings if slicing.by == "SKU repetition")
    assert repetition.slices[-1].name == UNKNOWN and repetition.slices[-1].photos == 50


def test_a_weak_slice_is_found_and_named_in_the_refusal(photos: list[Sample]) -> None:
    """A model blind in the dark: the darkest quarter is marked, and a refusal points at it."""
    evaluation = evaluated(photos, skill=6)
    dark = np.arange(len(photos)) < len(photos) // 4
    probabilities = evaluation.model.predictions.probabilities.copy()
    probabilities[dark] = np.roll(probabilities[dark], 1, axis=1)
    blind = type(evaluation.model.predictions).of(
        evaluation.model.predictions.labels, probabilities, np.arange(len(photos)), classes=(1, 2, 3, 4, 5)
    )
    judged = evaluate(
        test=blind,
        photos=photos,
        training_labels=[1, 2, 3],
        temperature=evaluation.temperature,
        gate=GateSettings(accuracy_threshold=0.95),
    )
    by_brightness = next(slicing for slicing in judged.slicings if slicing.by == "brightness")
    assert [part.weak for part in by_brightness.slices] == [True, False, False, False]
    assert any(hint.startswith("brightness 1:") for hint in judged.decision.where_to_look)


def test_a_refusal_is_in_the_json_with_its_reasons(photos: list[Sample]) -> None:
    gate = to_json(evaluated(photos, skill=0.5, champion_skill=4, replicates=200))["binventory"]["gate"]
    assert not gate["passed"] and not gate["not_worse_than_champion"] and gate["above_threshold"]
    assert "below the champion's" in gate["reasons"][0]
    assert gate["comparison"]["lower_bound"] < -gate["margin"]


def test_photos_of_another_split_are_refused(photos: list[Sample]) -> None:
    evaluation = evaluated(photos, replicates=10)
    common = {
        "training_labels": [1, 2, 3],
        "temperature": evaluation.temperature,
        "gate": GateSettings(accuracy_threshold=0),
    }
    with pytest.raises(ValueError, match="same test split"):
        evaluate(test=evaluation.model.predictions, photos=photos[:-1], **common)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="judged by"):
        evaluate(test=evaluation.model.predictions, photos=photos[::-1], **common)  # type: ignore[arg-type]


def test_traits_measure_light_blur_and_repetition() -> None:
    dark, light = (traits_of(Sample("1", drawn_photo(0, level), 2, ())) for level in (40, 200))
    assert dark.brightness < 0.25 < 0.7 < light.brightness
    assert dark.megapixels is None and dark.repetition is None
    # Sharpness is of the picture, not of the size that the photo came in.
    small, large = (traits_of(Sample("1", drawn_photo(0, 90, times=times), 2, ())) for times in (5, 10))
    assert large.sharpness == pytest.approx(small.sharpness, rel=0.1)
    assert traits_of(Sample("1", drawn_photo(0, 90), 1, ("A",))).repetition == "a single item"
    assert traits_of(Sample("1", drawn_photo(0, 90), 3, ("A",))).repetition == "one SKU, repeated"
    assert traits_of(Sample("1", drawn_photo(0, 90), 2, ("A", "B"))).repetition == "all SKUs different"
    mixed = traits_of(Sample("1", drawn_photo(0, 90), 3, ("A", "B")), skus_of([Sample("2", b"", 1, ("B",))]))
    assert (mixed.repetition, mixed.seen_in_training) == ("some SKUs repeated", "SKU seen in training")


def test_reliability_bins_add_up_to_the_calibration_error(photos: list[Sample]) -> None:
    predictions = evaluated(photos, replicates=10).model.predictions
    bins = reliability(predictions)
    assert sum(found.photos for found in bins) == len(photos)
    gap = sum(found.photos * abs(found.confidence - found.accuracy) for found in bins) / len(photos)
    assert gap == pytest.approx(float(measure(predictions).calibration_error))


@dataclass
class Split:
    """Ids and counts as a shard index gives them."""

    ids: list[str]
    counts: list[int]


def test_the_data_fingerprint_depends_on_content_and_split_only() -> None:
    first = data_fingerprint({"train": Split(["1", "2"], [3, 4]), "test": Split(["5"], [1])})
    assert first == data_fingerprint({"test": Split(["5"], [1]), "train": Split(["2", "1"], [4, 3])})
    others = [
        {"train": Split(["1", "2"], [3, 5]), "test": Split(["5"], [1])},
        {"train": Split(["1"], [3]), "test": Split(["2", "5"], [4, 1])},
        {"train": Split(["1", "2"], [4, 3]), "test": Split(["5"], [1])},
    ]
    assert len({first, *map(data_fingerprint, others)}) == 4


def test_the_code_fingerprint_sees_every_change(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "deep" / "b.py").write_text("y = 1\n")
    before = code_fingerprint(tmp_path)
    assert before == code_fingerprint(tmp_path)
    (tmp_path / "deep" / "b.py").write_text("y = 2\n")
    changed = code_fingerprint(tmp_path)
    (tmp_path / "deep" / "b.py").rename(tmp_path / "deep" / "c.py")
    assert len({before, changed, code_fingerprint(tmp_path)}) == 3


def test_an_audit_by_a_model_that_knows_is_told_from_one_by_a_model_that_does_not() -> None:
    labels = np.tile([1, 2, 3, 4, 5], 60)
    blocks = np.arange(300) // 10
    shares = Predictions.of(labels, np.full((300, 5), 0.2), blocks, classes=(1, 2, 3, 4, 5))
    knowing = Predictions.of(labels, 0.1 + 0.5 * np.eye(5)[labels - 1], blocks, classes=(1, 2, 3, 4, 5))
    certain, blind = (trust_in(found, shares, replicates=200, seed=0) for found in (knowing, shares))
    assert (certain.beats_shares, certain.found) == (True, 1.0)
    assert not blind.beats_shares and blind.found == pytest.approx(0.1, abs=0.03)
    few = [
        Predictions.of(labels, found.probabilities, blocks // 8, classes=(1, 2, 3, 4, 5)) for found in (knowing, shares)
    ]
    assert not trust_in(*few, replicates=200, seed=0).beats_shares, "four blocks show it of no model"


@pytest.mark.parametrize(("champion_skill", "said"), [(0.5, "No bound of the difference is stated"), (4, "refuses")])
def test_a_report_without_a_bound_says_what_decides(photos: list[Sample], champion_skill: float, said: str) -> None:
    every = evaluated(photos, skill=2, champion_skill=champion_skill, replicates=50)
    assert every.champion is not None
    blocks = np.arange(len(photos)) % 3

    def few(found: Predictions) -> Predictions:
        return Predictions.of(found.labels, found.probabilities, blocks, classes=found.classes)

    judged = evaluate(
        test=few(every.model.predictions),
        photos=photos,
        training_labels=[1, 2, 3],
        temperature=every.temperature,
        gate=GateSettings(accuracy_threshold=0.1, replicates=50),
        champion=few(every.champion.predictions),
    )
    gate = to_json(judged)["binventory"]["gate"]
    assert gate["comparison"]["lower_bound"] is None
    assert "3 blocks of ids and a 95% bound needs 5" in gate["no_bound"]
    page = render_page(judged, photos)
    assert said in page and "nan" not in page
    assert "bound needs 5, so the difference itself decides" in page
    assert "bound needs 5, so the difference itself decides" in verdict(gate)
