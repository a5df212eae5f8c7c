"""Metrics that a server embeds in its log become CloudWatch metrics, as CloudWatch Logs does it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local_aws.core.metrics import MetricEmitter, Value, embedded_values


def line(**changes: Any) -> str:
    """A line with two metrics, one of them a list."""
    directive = {
        "Namespace": "N",
        "Dimensions": [["Endpoint"]],
        "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}, {"Name": "Photos"}],
    }
    document = {
        "_aws": {"Timestamp": 1, "CloudWatchMetrics": [directive]},
        "Endpoint": "e",
        "Latency": [1.5, 2],
        "Photos": 3,
    }
    return json.dumps(document | changes)  # fmt: skip


def test_every_value_of_every_metric_with_its_dimensions() -> None:
    assert list(embedded_values(line())) == [
        Value("N", "Latency", 1.5, "Milliseconds", {"Endpoint": "e"}),
        Value("N", "Latency", 2, "Milliseconds", {"Endpoint": "e"}),
        Value("N", "Photos", 3, "None", {"Endpoint": "e"}),
    ]


def test_at_most_a_hundred_values_of_a_metric_are_read() -> None:
    assert len(list(embedded_values(line(Latency=list(range(150)), Photos=[])))) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain words",
        '"_aws" is no JSON',
        '{"_aws": 1}',
        '{"_aws": {}}',
        '{"_aws": {"CloudWatchMetrics": 7}}',
        '{"_aws": {"CloudWatchMetrics": [7]}}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N"}]}}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Metrics": [{}]}]}}',
        line().replace('"Endpoint": "e"', '"x": 1'),
    ],
)
def test_other_lines_hold_none(text: str) -> None:
    assert list(embedded_values(text)) == []


def test_what_is_no_number_is_left_out() -> None:
    assert list(embedded_values(line(Latency=["fast", True, None], Photos="3"))) == []


def test_the_values_of_the_last_moment_are_sent_before_the_end() -> None:
    sent: list[tuple[str, Any]] = []
    emitter = MetricEmitter(lambda namespace, data: sent.extend((namespace, datum["Value"]) for datum in data))
    emitter.put("N", "Photos", 3, {})
    emitter.stop()
    assert sent == [("N", 3)]
