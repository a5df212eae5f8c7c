"""The metrics that a training job prints, found by its MetricDefinitions."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable

from local_aws.core.metrics import MetricEmitter
from local_aws.core.protocol import Document


class MetricReader:
    """Finds the values of a training job's metrics in its output.

    Args:
        definitions: `[{"Name": ..., "Regex": ...}]`; the pattern's first group is the value.
        emitter: receives each value under `/aws/sagemaker/TrainingJobs`.
        job: the training job's name, the metrics' dimension.

    Set `publishes` to False when the job's role may not publish; FinalMetricDataList still has every value.
    """

    NAMESPACE = "/aws/sagemaker/TrainingJobs"

    def __init__(self, definitions: list[Document], emitter: MetricEmitter, job: str) -> None:
        self._patterns = [(item["Name"], re.compile(item["Regex"])) for item in definitions]
        self._emitter = emitter
        self._job = job
        self._values: dict[str, list[tuple[float, float]]] = {}
        self._listeners: list[tuple[str, Callable[[float], None]]] = []
        self._lock = threading.Lock()
        self.publishes = True

    def read(self, line: str) -> None:
        """Find the values in one line."""
        for name, pattern in self._patterns:
            for match in pattern.finditer(line):
                with contextlib.suppress(ValueError, IndexError, TypeError):
                    self._add(name, float(match.group(1)))

    def final(self) -> list[Document]:
        """The last value of each metric, as FinalMetricDataList."""
        with self._lock:
            return [
                {"MetricName": name, "Value": values[-1][0], "Timestamp": values[-1][1]}
                for name, values in self._values.items()
            ]

    def listen(self, name: str, listener: Callable[[float], None]) -> None:
        """Call `listener` with every value of a metric, earlier ones included."""
        with self._lock:
            earlier = [value for value, _ in self._values.get(name, [])]
            self._listeners.append((name, listener))
        for value in earlier:
            listener(value)

    def _add(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            return
        with self._lock:
            self._values.setdefault(name, []).append((value, round(time.time(), 3)))
            listeners = [listener for metric, listener in self._listeners if metric == name]
        for listener in listeners:
            listener(value)
        if self.publishes:
            self._emitter.put(self.NAMESPACE, name, value, {"TrainingJobName": self._job})
