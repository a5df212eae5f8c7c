"""What a job prints: to CloudWatch Logs line by line, and to CloudWatch where a metric's pattern matches."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.embedded_metrics import emit
from local_aws.core.metrics import MetricEmitter
from local_aws.core.wire import Document

_log = logging.getLogger("local_aws.output")
_FLUSH_SECONDS = 0.5
_BATCH = 1000


class LogStream:
    """One log stream of CloudWatch Logs; lines are gathered for half a second and sent together.

    Args:
        client: boto3's `logs` client.
        group: log group, made when absent.
        name: the stream's name, `JOB/algo-1-EPOCH`.
        metrics: where metrics that are embedded in lines go; None leaves them alone.
    """

    def __init__(self, client: Any, group: str, name: str, metrics: MetricEmitter | None = None) -> None:
        self._client = client
        self._group = group
        self._name = name
        self._metrics = metrics
        self._pending: list[Document] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._made = False
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Add one line. CloudWatch Logs has no empty events, so an empty line is left out."""
        if not line:
            return
        if self._metrics is not None:
            emit(line, self._metrics)
        with self._lock:
            self._pending.append({"timestamp": int(time.time() * 1000), "message": line})
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-stream", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Send the rest; returns when CloudWatch Logs has every line."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._flush()

    def _run(self) -> None:
        while not self._closed.wait(_FLUSH_SECONDS):
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
        try:
            if pending and not self._made:
                self._make()
            for start in range(0, len(pending), _BATCH):
                self._client.put_log_events(
                    logGroupName=self._group, logStreamName=self._name, logEvents=pending[start : start + _BATCH]
                )
        except (ClientError, BotoCoreError) as error:
            _log.warning("%d lines of %s were lost: %s", len(pending), self._name, error)

    def _make(self) -> None:
        taken = self._client.exceptions.ResourceAlreadyExistsException
        # SageMaker looks whether the stream of an earlier attempt is there; a new group has none.
        with contextlib.suppress(ClientError):
            self._client.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=self._name)
        with contextlib.suppress(taken):
            self._client.create_log_group(logGroupName=self._group)
        with contextlib.suppress(taken):
            self._client.create_log_stream(logGroupName=self._group, logStreamName=self._name)
        self._made = True


class MetricReader:
    """Finds a training job's metrics in its output, as its MetricDefinitions say.

    Args:
        definitions: `[{"Name": ..., "Regex": ...}]`; the pattern's first group is the value.
        emitter: receives each value under `/aws/sagemaker/TrainingJobs`.
        job: the training job's name, the metrics' dimension.
    """

    NAMESPACE = "/aws/sagemaker/TrainingJobs"

    def __init__(self, definitions: list[Document], emitter: MetricEmitter, job: str) -> None:
        self._patterns = [(item["Name"], re.compile(item["Regex"])) for item in definitions]
        self._emitter = emitter
        self._job = job
        self._values: dict[str, list[tuple[float, float]]] = {}
        self._listeners: list[tuple[str, Callable[[float], None]]] = []
        self._lock = threading.Lock()
        self._muted = False

    def mute(self) -> None:
        """From now on publish nothing: the job's role may not. The values are still the job's."""
        self._muted = True

    @property
    def muted(self) -> bool:
        """Whether the job's role may not publish."""
        return self._muted

    def read(self, line: str) -> None:
        """Take the values out of one line."""
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

    def values(self, name: str) -> list[float]:
        """All values of one metric, oldest first."""
        with self._lock:
            return [value for value, _ in self._values.get(name, [])]

    def listen(self, name: str, listener: Callable[[float], None]) -> None:
        """Call `listener` with every value of a metric, those that were read already included."""
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
        if not self._muted:
            self._emitter.put(self.NAMESPACE, name, value, {"TrainingJobName": self._job})
