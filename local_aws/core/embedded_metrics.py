"""Embedded metrics: CloudWatch Logs makes metrics of log lines that describe them (the embedded metric format)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from local_aws.core.metrics import MetricEmitter

_MOST_VALUES = 100


class Value(NamedTuple):
    """One value of one metric."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


def embedded_values(line: str) -> Iterator[Value]:
    """The values in a log line, none where it is anything else. Like CloudWatch, takes at most 100 values a metric."""
    if '"_aws"' not in line:
        return
    try:
        document = json.loads(line)
        directives = document["_aws"]["CloudWatchMetrics"]
    except (ValueError, KeyError, TypeError):
        return
    for directive in directives:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(document[name]) for name in names if name in document}
            if len(dimensions) == len(names):
                yield from _values(document, directive, dimensions)


def emit(line: str, emitter: MetricEmitter) -> None:
    """Send a line's embedded metrics on their way to CloudWatch."""
    for value in embedded_values(line):
        emitter.put(value.namespace, value.name, value.value, value.dimensions, unit=value.unit)


def _values(document: dict[str, Any], directive: dict[str, Any], dimensions: dict[str, str]) -> Iterator[Value]:
    for metric in directive["Metrics"]:
        found = document.get(metric["Name"], [])
        for value in (found if isinstance(found, list) else [found])[:_MOST_VALUES]:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield Value(directive["Namespace"], metric["Name"], value, metric.get("Unit", "None"), dimensions)
