"""Metrics on their way to the local CloudWatch: gathered for a moment, then sent together."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from local_aws.core.wire import Document

_log = logging.getLogger("local_aws.core.metrics")
_FLUSH_SECONDS = 0.5
_BATCH = 500

Send = Callable[[str, list[Document]], None]


class MetricEmitter:
    """Collects values and sends them from one background thread, so that nobody waits for CloudWatch.

    Args:
        send: called with a namespace and a list of `MetricDatum` documents.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._pending: dict[str, list[Document]] = defaultdict(list)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
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
            if self._stopped:
                return
            self._pending[namespace].append(datum)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
                self._thread.start()

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
            self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._wake.wait(_FLUSH_SECONDS):
            self.flush()
