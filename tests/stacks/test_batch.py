"""Batch Transform in the serving stack: a role that only reads photos, and the outputs that the client reads."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, get_args

import botocore.session
import pytest

from binventory import serving
from binventory.batch.site import find_site
from stacks.names import in_one_line, of_one_line
from stacks.settings import InvalidSettingsError, load
from stacks.settings.instances import SERVING_INSTANCES, BatchInstance
from tests.conftest import NAMES
from tests.stacks.templates import as_list, changed, flat, pipeline_definition, statements, synthesize, templates


def allowed(template: dict[str, object], action: str) -> set[str]:
    """The resources on which the batch role may do something."""
    return {
        flat(resource)
        for name, statement in statements(template)
        if name.startswith("ServingRolesBatch") and action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def test_the_role_reads_photos_and_writes_answers_and_nothing_else() -> None:
    training = templates("dev")["Training"]
    written = allowed(training, "s3:PutObject")
    assert len(written) == 1 and written.pop().endswith("/batch/*")
    read = allowed(training, "s3:GetObject")
    assert any(resource.endswith(":s3:::aft-vbi-pds/*") for resource in read)
    assert len(read) == 3
    assert not allowed(training, "s3:DeleteObject")
    groups = allowed(training, "logs:CreateLogGroup")
    # CloudWatch Logs asks with the group's name in either form.
    assert {group.removesuffix(":*").rpartition(":")[2] for group in groups} == {"/aws/sagemaker/TransformJobs"}


def test_more_prefixes_may_be_opened_by_settings() -> None:
    settings = changed(
        load("dev"), "batch", photos_uris=("s3://ours/bins/", "s3://ours/more/", "s3://theirs/"), instance_count=3
    )
    stacks = synthesize(settings)
    read = allowed(stacks["Training"], "s3:GetObject")
    assert {resource for resource in read if "ours" in resource} == {
        "arn:<AWS::Partition>:s3:::ours/bins/*",
        "arn:<AWS::Partition>:s3:::ours/more/*",
    }
    outputs = {name: output["Value"] for name, output in stacks["Serving"]["Outputs"].items()}
    assert outputs["BatchPhotosUris"] == "s3://aft-vbi-pds/ s3://ours/bins/ s3://ours/more/ s3://theirs/"
    assert outputs["BatchInstanceCount"] == "3"
    assert flat(outputs["BatchOutputUri"]).endswith("/batch/")


def test_a_prefix_with_spaces_is_one_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line reads the prefixes from one output, between spaces."""
    photos = "s3://ours/photos of all bins/"
    template = synthesize(changed(load("dev"), "data", photos_uri=photos))["Serving"]
    outputs = {name: flat(output["Value"]) for name, output in template["Outputs"].items()}
    monkeypatch.setattr(serving, "outputs_and_tags", lambda *_: (outputs, {}))
    monkeypatch.setattr(serving, "endpoint_state", lambda *_: SimpleNamespace(package="arn", switched_on=True))
    monkeypatch.setattr(serving, "describe_package", lambda *_: SimpleNamespace(digest=""))
    nobody: Any = None
    assert find_site(nobody, NAMES).readable == (photos,)


def test_addresses_in_one_output_are_read_as_they_were_written() -> None:
    addresses = ("s3://ours/photos of 100% of all bins/", "s3://ours/%20/", "s3://ours/größe/")
    assert of_one_line(in_one_line(addresses)) == addresses


def test_a_model_package_supports_every_instance_type_that_settings_allow() -> None:
    """A package is registered once, and the settings may change afterwards."""
    sagemaker = botocore.session.get_session().get_service_model("sagemaker")
    specification: Any = sagemaker.shape_for("InferenceSpecification")
    steps = json.dumps(pipeline_definition(templates("dev")["Training"]))
    for member, allowed in (
        ("SupportedTransformInstanceTypes", get_args(BatchInstance)),
        ("SupportedRealtimeInferenceInstanceTypes", SERVING_INSTANCES),
    ):
        assert f'"{member}": {json.dumps(list(allowed))}' in steps
        assert set(allowed) <= set(specification.members[member].member.enum), "SageMaker knows them all"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("PHOTOS_URIS", '["s3://ours/bins"]', "with the slash at its end"),
        ("PHOTOS_URIS", '["s3://ours/*/"]', "must be a prefix"),
        ("INSTANCE_TYPE", "ml.t2.medium", "ml.m5.large"),
        ("INSTANCE_COUNT", "0", "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_named(field: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BINVENTORY_BATCH__{field}", value)
    with pytest.raises(InvalidSettingsError, match=said) as caught:
        load("dev")
    assert f"batch.{field.lower()}" in str(caught.value)
