"""Every member of every request that the local AWS answers is read by its code, refused, or listed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from local_aws.core.errors import AwsError
from local_aws.core.members import REFUSED, WITHOUT_EFFECT, refuse_members
from local_aws.core.shapes import operation_model
from local_aws.registry import operations

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = sorted(operations())
# jobs/debugger.py refuses these or names them in the job's log, whatever is in them.
DEBUGGER = (
    *("DebugHookConfig", "DebugRuleConfigurations", "ProfilerConfig", "ProfilerRuleConfigurations"),
    "TensorBoardOutputConfig",
)
# What AWS, too, only keeps and shows.
_PACKAGE = (
    *("AdditionalInferenceSpecifications", "AdditionalInferenceSpecificationsToAdd", "Domain", "DriftCheckBaselines"),
    *("InferenceSpecification", "ManagedStorageType", "MetadataProperties", "ModelCard", "ModelLifeCycle"),
    *("ModelMetrics", "SamplePayloadUrl", "SecurityConfig", "SkipModelValidation", "SourceUri", "Task"),
)
ELSEWHERE = {
    "CreateModelPackage": _PACKAGE,
    "CreateTrainingJob": DEBUGGER,
    "CreateTransformJob": ("DataCaptureConfig", "ExperimentConfig"),  # jobs/requests.py refuses them
    "UpdateModelPackage": _PACKAGE,
}
# core/listing.py makes these of two parts.
COMPUTED = {f"{member}{end}" for member in ("CreationTime", "LastModifiedTime") for end in ("After", "Before")}


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word in a text of the local AWS's code; docstrings and the tables of members are left out."""
    found: set[str] = set(COMPUTED)
    for path in (ROOT / "local_aws").rglob("*.py"):
        if path.name == "members.py":
            continue
        tree = ast.parse(path.read_text())
        prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
                found.update(re.findall(r"[A-Za-z]\w+", node.value))
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return frozenset(found)


def paths(shape: Shape | None, above: tuple[str, ...] = (), within: tuple[str, ...] = ()) -> Iterator[str]:
    """The paths of all members of a request."""
    if isinstance(shape, StructureShape) and shape.name not in within:
        for name, member in shape.members.items():
            yield ".".join((*above, name))
            yield from paths(member, (*above, name), (*within, shape.name))
    elif isinstance(shape, ListShape):
        yield from paths(shape.member, above, within)
    elif isinstance(shape, MapShape):
        yield from paths(shape.value, above, within)


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_no_member_is_silent(service: str, operation: str) -> None:
    listed = (*REFUSED.get(operation, ()), *WITHOUT_EFFECT.get(operation, ()), *ELSEWHERE.get(operation, ()))
    silent = [
        path
        for path in paths(operation_model(operation, service).input_shape)
        if path.rpartition(".")[2] not in words_of_the_code()
        and not any(path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in listed)
    ]
    assert not silent, f"local_aws/core/members.py must refuse these or list them, or code must read them: {silent}"


def test_the_tables_name_members_of_the_models() -> None:
    services = {operation: service for service, operation in OPERATIONS}
    for table in (REFUSED, WITHOUT_EFFECT):
        for operation, listed in table.items():
            known = set(paths(operation_model(operation, services[operation]).input_shape))
            assert not set(listed) - known, operation


def test_members_without_effect_are_in_the_docs() -> None:
    page = (ROOT / "docs" / "local-jobs.md").read_text()
    section = page.partition("### Members without effect")[2].partition("\n### ")[0]
    names = {path.rpartition(".")[2] for listed in WITHOUT_EFFECT.values() for path in listed}
    missing = sorted(name for name in names if f"`{name}`" not in section)
    assert not missing


def test_refused_members_are_named() -> None:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k", "InstanceGroupNames": ["gpu"]}
    channels = [
        {"DataSource": {"S3DataSource": {}}},
        {"DataSource": {"S3DataSource": source}, "ShuffleConfig": {"Seed": 1}},
    ]
    with pytest.raises(AwsError, match="does not run locally, only on AWS") as refused:
        refuse_members("CreateTrainingJob", {"InputDataConfig": channels})
    assert refused.value.code == "NotImplemented"
    for name in ("InputDataConfig.DataSource.S3DataSource.InstanceGroupNames", "InputDataConfig.ShuffleConfig"):
        assert name in refused.value.message


@pytest.mark.parametrize(
    ("operation", "request_body"),
    [
        (
            "CreateModel",
            {"PrimaryContainer": {"Mode": "SingleModel", "ImageConfig": {"RepositoryAccessMode": "Platform"}}},
        ),
        ("CreateProcessingJob", {"ProcessingInputs": [{"AppManaged": False}]}),
        ("DescribeModelPackage", {"IncludedData": "AllData"}),
        ("StartPipelineExecution", {"PipelineVersionId": 0}),
    ],
)
def test_what_does_the_same_on_aws_is_not_refused(operation: str, request_body: dict[str, object]) -> None:
    refuse_members(operation, request_body)


@pytest.mark.parametrize("operation", ["InvokeEndpoint", "InvokeEndpointAsync"])
def test_no_header_of_a_request_to_an_endpoint_is_silent(operation: str) -> None:
    code = (ROOT / "local_aws" / "hosting" / "runtime.py").read_text().lower()
    shape = operation_model(operation, "sagemaker-runtime").input_shape
    places = [member.serialization for member in shape.members.values()] if shape else []
    headers = [place["name"].lower() for place in places if place.get("location") == "header"]
    silent = [name for name in headers if f'{name.removeprefix("x-amzn-sagemaker-")}"' not in code]
    assert headers and not silent
