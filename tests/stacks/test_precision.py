"""The precision that the settings choose: jobs get it, and instance types that lack it are refused."""

from __future__ import annotations

from typing import get_args

import pytest

from binventory.ec2.plan import fixed_flags
from stacks.settings import InvalidSettingsError, load
from stacks.settings.instances import BatchInstance, JobInstance, ServingInstance, computes_in_bf16
from tests.stacks.definitions import Json, named
from tests.stacks.templates import changed, pipeline_definition, synthesize, templates

C7I = {"EVALUATION__INSTANCE_TYPE": "ml.c7i.xlarge", "SERVING__INSTANCE_TYPE": "ml.c7i.large"}
C7I_EVERYWHERE = {**C7I, "BATCH__INSTANCE_TYPE": "ml.c7i.xlarge"}


@pytest.fixture(scope="module")
def definition() -> Json:
    """The pipeline with settings that choose fp32."""
    settings = changed(changed(load("dev"), "embed", precision="fp32"), "evaluation", precision="fp32")
    return pipeline_definition(synthesize(settings)["Training"])


def precision_of(definition: Json) -> list[str]:
    """The precision that Embed and Evaluate get."""
    words = named(definition, "Evaluate")["Arguments"]["AppSpecification"]["ContainerArguments"]
    embed = named(definition, "Embed")["Arguments"]["HyperParameters"]["precision"]
    return [embed, words[words.index("--precision") + 1]]


def test_the_jobs_compute_in_what_the_settings_say(definition: Json) -> None:
    assert precision_of(definition) == ["fp32", "fp32"]
    assert precision_of(pipeline_definition(templates("dev")["Training"])) == ["auto", "auto"]


def test_a_machine_on_ec2_computes_as_the_pipeline_does(definition: Json) -> None:
    prepared = {"features": "stages", "fit": "whole", "input-size": "224"}
    assert fixed_flags(definition, "embed") == {"precision": "fp32", **prepared}
    assert fixed_flags(definition, "evaluate") == {"precision": "fp32"}
    training = load("dev").training
    chosen = {name: getattr(training, name) for name in ("answer", "head", "loss", "precision", "watch")}
    assert fixed_flags(definition, "train") == {**prepared, **chosen, "profile-steps": "0"}
    assert fixed_flags({"Steps": []}, "train") == {}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EMBED__PRECISION": "bf16"}, ["embed.precision = 'bf16'", "bf16 with instance_type ml.c5.4xlarge"]),
        ({"EMBED__PRECISION": "int8"}, ["embed.precision = 'int8'", "must be 'auto', 'fp32' or 'bf16'"]),
        ({"EVALUATION__PRECISION": "bf16"}, ["evaluation.precision = 'bf16'", "bf16 with instance_type ml.m5.xlarge"]),
        (
            {"EVALUATION__PRECISION": "bf16", "EVALUATION__INSTANCE_TYPE": "ml.c7i.xlarge"},
            ["evaluation.precision = 'bf16'", "serving.instance_type ml.m5.large, which lacks it: c7i, m7i,"],
        ),
        ({"EVALUATION__PRECISION": "bf16", **C7I}, ["evaluation.precision", "batch.instance_type ml.m5.xlarge"]),
        (
            {"EVALUATION__PRECISION": "bf16", **C7I_EVERYWHERE, "SERVING__MODE": "serverless",
             "SERVING__DATA_CAPTURE_PERCENT": "0"},
            ["evaluation.precision = 'bf16'", "must not be bf16 with serving.mode serverless"],
        ),
    ],
)  # fmt: skip
def test_bf16_is_refused_for_machines_that_lack_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"BINVENTORY_{name}", value)
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    for text in expected:
        assert text in str(caught.value)


def test_bf16_is_had_where_every_machine_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {**C7I_EVERYWHERE, "EVALUATION__PRECISION": "bf16", "EMBED__PRECISION": "bf16",
                 "EMBED__INSTANCE_TYPE": "ml.g5.xlarge"}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"BINVENTORY_{name}", value)
    settings = load("dev")
    assert (settings.embed.precision, settings.evaluation.precision) == ("bf16", "bf16")


def test_the_families_with_bf16_are_among_those_that_can_be_chosen() -> None:
    chosen = {*get_args(JobInstance), *get_args(ServingInstance), *get_args(BatchInstance)}
    assert {kind.split(".")[1] for kind in chosen if computes_in_bf16(kind)} == {"c7i", "m7i", "g5", "g6"}
