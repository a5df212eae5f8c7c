"""Expressions of pipeline definitions, without a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.images.container import rebase
from local_aws.pipelines.definition import seconds_of
from local_aws.pipelines.expressions import ExpressionError, Resolver, look_up, parse_path, references

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
PARTS = st.one_of(NAMES, st.integers(0, 99))


def resolver(**parameters: Any) -> Resolver:
    steps = {
        "Ingest": {
            "ProcessingJobName": "job",
            "ProcessingOutputConfig": {
                "Outputs": [
                    {"OutputName": "train", "S3Output": {"S3Uri": "s3://b/train"}},
                    {"OutputName": "test", "S3Output": {"S3Uri": "s3://b/test"}},
                ]
            },
        }
    }
    files = {("Ingest", "books"): {"accuracy": {"value": 0.5}, "ok": True, "list": [1, 2]}}
    return Resolver(parameters, {"PipelineExecutionId": "abc"}, steps, lambda step, file: files[step, file])


def json_get(path: str) -> dict[str, Any]:
    return {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Ingest.PropertyFiles.books"}, "Path": path}}


@given(st.lists(PARTS, min_size=1, max_size=6).filter(lambda parts: isinstance(parts[0], str)))
def test_paths_are_read_back_as_they_are_written(parts: list[str | int]) -> None:
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    quoted = "".join(f"[{part}]" if isinstance(part, int) else f"['{part}']" for part in parts)
    assert parse_path(dotted) == parse_path(quoted) == parts


@given(st.lists(NAMES, min_size=1, max_size=4), st.integers() | st.text())
def test_what_lies_at_a_path_is_found(parts: list[str], value: Any) -> None:
    document: Any = value
    for part in reversed(parts):
        document = {part: document}
    assert look_up(document, list(parts), "path") == value


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=9))
def test_plain_values_stay_as_they_are(value: Any) -> None:
    assert resolver().resolve({"a": [value]}) == {"a": [value]}
    assert list(references({"a": value})) == []


def test_references_and_joins() -> None:
    value = {
        "uri": {"Get": "Steps.Ingest.ProcessingOutputConfig.Outputs['test'].S3Output.S3Uri"},
        "text": {"Std:Join": {"On": "/", "Values": ["s3:/", {"Get": "Execution.PipelineExecutionId"}, 3, 0.5, True]}},
        "number": {"Get": "Parameters.N"},
    }
    assert resolver(N=4).resolve(value) == {
        "uri": "s3://b/test",
        "text": "s3://abc/3/0.5/true".replace("s3://", "s3://"),
        "number": 4,
    }
    assert set(references(value)) == {
        "Steps.Ingest.ProcessingOutputConfig.Outputs['test'].S3Output.S3Uri",
        "Execution.PipelineExecutionId",
        "Parameters.N",
    }


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        ({"Type": "Equals", "LeftValue": json_get("ok"), "RightValue": True}, True),
        ({"Type": "GreaterThan", "LeftValue": json_get("accuracy.value"), "RightValue": 0.5}, False),
        ({"Type": "GreaterThanOrEqualTo", "LeftValue": json_get("accuracy['value']"), "RightValue": 0.5}, True),
        ({"Type": "LessThan", "LeftValue": json_get("list[0]"), "RightValue": json_get("list[1]")}, True),
        ({"Type": "LessThanOrEqualTo", "LeftValue": 3, "RightValue": 2}, False),
        ({"Type": "In", "QueryValue": {"Get": "Parameters.S"}, "Values": ["head", "full"]}, True),
        ({"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": 1, "RightValue": 1}}, False),
        (
            {
                "Type": "Or",
                "Conditions": [
                    {"Type": "Equals", "LeftValue": 1, "RightValue": 2},
                    {"Type": "Equals", "LeftValue": "a", "RightValue": "a"},
                ],
            },
            True,
        ),
    ],
)
def test_conditions(condition: dict[str, Any], outcome: bool) -> None:
    assert resolver(S="head").holds(condition) is outcome


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"Get": "Steps.Nobody.X"}, "step Nobody has not run"),
        ({"Get": "Steps.Ingest.Nothing"}, "'Nothing' does not exist"),
        ({"Get": "Steps.Ingest.ProcessingOutputConfig.Outputs['gone']"}, "nothing is named 'gone'"),
        ({"Get": "Else.X"}, "a reference starts with"),
        ({"Get": "Parameters.[["}, "Cannot read the path"),
        ({"Std:Join": {"On": "", "Values": [[1]]}}, "takes texts and numbers"),
        ({"Std:JsonGet": {"PropertyFile": "books", "Path": "a"}}, "PropertyFile must be"),
        (json_get("accuracy.none"), "'none' does not exist"),
    ],
)
def test_what_cannot_be_resolved_says_why(value: Any, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        resolver().resolve(value)


def test_values_of_different_kinds_cannot_be_ordered() -> None:
    with pytest.raises(ExpressionError, match="cannot compare"):
        resolver().holds({"Type": "LessThan", "LeftValue": "1", "RightValue": 1})


def test_durations() -> None:
    assert (seconds_of("P30D"), seconds_of("PT1H30M"), seconds_of("P1W")) == (2_592_000, 5_400, 604_800)
    assert (seconds_of("30d"), seconds_of("T16m"), seconds_of("30dT5h")) == (2_592_000, 960, 2_610_000)
    assert seconds_of("5y") == 5 * 365 * 86_400, "as AWS's page on caching writes durations"
    for wrong in ("30 days", "P", "PT", "T", "", "D30"):
        with pytest.raises(ValueError, match="ISO 8601"):
            seconds_of(wrong)


@pytest.mark.parametrize(
    ("text", "rebased"),
    [
        ("/opt/ml/model", "/job/model"),
        ("--x=/opt/ml", "--x=/job"),
        ("cat /opt/ml/a > '/opt/ml/b'; cd \"/opt/ml\"", "cat /job/a > '/job/b'; cd \"/job\""),
        ("file:///opt/ml/a", "file:///job/a"),
        ("/opt/mlops /opt/ml-2 s3://bucket/opt/ml/a my/opt/ml", "/opt/mlops /opt/ml-2 s3://bucket/opt/ml/a my/opt/ml"),
    ],
)
def test_only_paths_below_the_base_are_moved(text: str, rebased: str) -> None:
    assert rebase(text, Path("/job")) == rebased
