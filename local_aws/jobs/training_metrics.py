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
        self._last: dict[str, tuple[float, float]] = {}
        self._curves: dict[str, list[float]] = {}
        self._listeners: list[tuple[str, Callable[[float], None], Callable[[], None]]] = []
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
                {"MetricName": name, "Value": value, "Timestamp": moment}
                for name, (value, moment) in self._last.items()
            ]

    def listen(self, name: str, listener: Callable[[float], None], anew: Callable[[], None]) -> None:
        """Call `listener` with every value of a metric, earlier ones too, and `anew` before the job begins anew."""
        with self._lock:
            earlier = list(self._curves.get(name, []))
            self._listeners.append((name, listener, anew))
        for value in earlier:
            listener(value)

    def begin_anew(self) -> None:
        """The job starts again without checkpoints, so its next values are those of its first epochs again.

        What is in CloudWatch stays there, as on AWS, which cannot take it back.
        """
        with self._lock:
            self._curves.clear()
            listeners = [anew for _, _, anew in self._listeners]
        for anew in listeners:
            anew()

    def _add(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            return
        with self._lock:
            self._last[name] = (value, round(time.time(), 3))
            self._curves.setdefault(name, []).append(value)
            listeners = [listener for metric, listener, _ in self._listeners if metric == name]
        for listener in listeners:
            listener(value)
        if self.publishes:
            self._emitter.put(self.NAMESPACE, name, value, {"TrainingJobName": self._job})
