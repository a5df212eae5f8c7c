"""Log lines on their way to the local CloudWatch Logs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.metrics import MetricEmitter
from local_aws.core.protocol import Document

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 0.5
_BATCH = 1000
_REMEMBERED = 50


class LogStream:
    """One log stream; lines are collected for half a second and sent together.

    Args:
        client: boto3's `logs` client.
        group: log group; created when absent.
        name: the stream's name, `JOB/algo-1-EPOCH`.
        metrics: receives the metrics that lines embed; None ignores them.
    """

    def __init__(self, client: Any, group: str, name: str, metrics: MetricEmitter | None = None) -> None:
        self._client = client
        self._group = group
        self.name = name
        self._ending: deque[str] = deque(maxlen=_REMEMBERED)
        self._metrics = metrics
        self._pending: list[Document] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._created = False
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Add one line. CloudWatch Logs has no empty events, so an empty line is left out."""
        if not line:
            return
        if self._metrics is not None:
            self._metrics.put_embedded(line)
        with self._lock:
            self._ending.append(line)
            self._pending.append({"timestamp": int(time.time() * 1000), "message": line})
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-stream", daemon=True)
                self._thread.start()

    def ending(self) -> list[str]:
        """The last lines that were added."""
        with self._lock:
            return list(self._ending)

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
            if pending and not self._created:
                self._create()
            for start in range(0, len(pending), _BATCH):
                self._client.put_log_events(
                    logGroupName=self._group, logStreamName=self.name, logEvents=pending[start : start + _BATCH]
                )
        except (ClientError, BotoCoreError) as error:
            _log.warning("%d lines of %s were lost: %s", len(pending), self.name, error)

    def _create(self) -> None:
        taken = self._client.exceptions.ResourceAlreadyExistsException
        # SageMaker looks for the stream of an earlier attempt; a new log group has none, which is an error here.
        with contextlib.suppress(ClientError):
            self._client.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=self.name)
        with contextlib.suppress(taken):
            self._client.create_log_group(logGroupName=self._group)
        with contextlib.suppress(taken):
            self._client.create_log_stream(logGroupName=self._group, logStreamName=self.name)
        self._created = True
