"""Metrics on their way to the local CloudWatch, from code and from log lines in the embedded metric format."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from local_aws.core.protocol import Document

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 0.5
_BATCH = 500
_MOST_EMBEDDED_VALUES = 100

Send = Callable[[str, list[Document]], None]


class MetricEmitter:
    """Collects values and sends them together from a background thread, so that no caller waits for CloudWatch.

    Args:
        send: called with a namespace and a list of `MetricDatum` documents.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._pending: dict[str, list[Document]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def put(
        self, namespace: str, name: str, value: float, dimensions: Mapping[str, str], *, unit: str = "None"
    ) -> None:
        """Record one value now; it reaches CloudWatch within about half a second."""
        datum = {
            "MetricName": name,
            "Value": value,
            "Unit": unit,
            "Timestamp": time.time(),
            "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
        }
        with self._lock:
            if self._stopping.is_set():
                return
            self._pending[namespace].append(datum)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
                self._thread.start()

    def put_embedded(self, line: str) -> None:
        """Record the metrics that a log line describes in the embedded metric format, if it does."""
        for value in embedded_values(line):
            self.put(value.namespace, value.name, value.value, value.dimensions, unit=value.unit)

    def flush(self) -> None:
        """Send what is pending; a refusal is logged and its values are dropped."""
        with self._lock:
            pending, self._pending = self._pending, defaultdict(list)
        for namespace, data in pending.items():
            for start in range(0, len(data), _BATCH):
                try:
                    self._send(namespace, data[start : start + _BATCH])
                except Exception as error:
                    _log.warning("metrics for %s were lost: %s", namespace, error)

    def stop(self) -> None:
        """Send the rest and end the thread."""
        with self._lock:
            self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stopping.wait(_FLUSH_SECONDS):
            self.flush()
        self.flush()


class Value(NamedTuple):
    """One value of one metric."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


def embedded_values(line: str) -> Iterator[Value]:
    """The metric values in a log line; none in any other line. Like CloudWatch, takes at most 100 values a metric."""
    if '"_aws"' not in line:
        return
    try:
        yield from list(_described(json.loads(line)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # a line of another kind; a program may print anything


def _described(document: dict[str, Any]) -> Iterator[Value]:
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(document[name]) for name in names if name in document}
            if len(dimensions) == len(names):
                yield from _values(document, directive, dimensions)


def _values(document: dict[str, Any], directive: dict[str, Any], dimensions: dict[str, str]) -> Iterator[Value]:
    for metric in directive["Metrics"]:
        found = document.get(metric["Name"], [])
        for value in (found if isinstance(found, list) else [found])[:_MOST_EMBEDDED_VALUES]:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield Value(directive["Namespace"], metric["Name"], value, metric.get("Unit", "None"), dimensions)
