"""The endpoint's log and metrics: one JSON object a line, never content that a client sent."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from typing import IO, Any, Final

# CloudWatch reads at most 100 values of a metric from one line.
_MOST_VALUES: Final = 100
_UNITS: Final = {
    "Latency": "Milliseconds",
    "DecodeLatency": "Milliseconds",
    "QueueLatency": "Milliseconds",
    "ModelLatency": "Milliseconds",
    "PredictedCount": "None",
    "Confidence": "None",
    "Waiting": "Count",
    "Photos": "Count",
    "ClientErrors": "Count",
    "ServerErrors": "Count",
    "Refused": "Count",
}


def log(event: str, *, stream: IO[str] | None = None, **fields: Any) -> None:
    """Write one structured line to standard output, where CloudWatch Logs picks it up."""
    print(json.dumps({"event": event, **fields}), file=stream or sys.stdout, flush=True)


class Metrics:
    """Collects values and writes them as CloudWatch embedded metrics, once an interval or when a line is full.

    One line aggregates many requests, because CloudWatch bills the log by its size. Each line also has `properties`,
    which are no metrics but name the model of the values. Thread-safe.
    """

    def __init__(
        self,
        *,
        namespace: str,
        dimensions: dict[str, str],
        properties: dict[str, str] | None = None,
        interval_s: float = 60.0,
        enabled: bool = True,
        stream: IO[str] | None = None,
    ) -> None:
        self._namespace = namespace
        self._dimensions = dimensions
        self._properties = properties or {}
        self._interval_s = interval_s
        self._enabled = enabled
        self._stream = stream
        self._values: dict[str, list[float]] = {}
        self._sums: Counter[str] = Counter()
        self._written = time.monotonic()
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def observe(self, **values: float) -> None:
        """Add one value to each named distribution."""
        with self._lock:
            for name, value in values.items():
                self._values.setdefault(name, []).append(round(value, 3))
            full = any(len(self._values[name]) >= _MOST_VALUES for name in values)
            self._write_or_wait(full)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a sum."""
        with self._lock:
            self._sums[name] += amount
            self._write_or_wait(False)

    def flush(self) -> None:
        """Write the collected values."""
        with self._lock:
            self._write()

    def _write_or_wait(self, full: bool) -> None:
        """Write when it is time; else start a timer, so that the last values before a quiet hour are written too."""
        if full or time.monotonic() - self._written >= self._interval_s:
            self._write()
        elif self._timer is None:
            self._timer = threading.Timer(self._interval_s, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        values, self._values = self._values, {}
        sums, self._sums = self._sums, Counter()
        names = [*values, *sums]
        if not names or not self._enabled:
            return
        line = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": self._namespace,
                        "Dimensions": [list(self._dimensions)],
                        "Metrics": [{"Name": name, "Unit": _UNITS[name]} for name in names],
                    }
                ],
            },
            **self._dimensions,
            **self._properties,
            **values,
            **sums,
        }
        print(json.dumps(line), file=self._stream or sys.stdout, flush=True)
