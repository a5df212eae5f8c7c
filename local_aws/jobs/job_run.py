"""What processing and transform jobs share: they run once, without interruptions, and store how they ended."""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from typing import ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.jobs.records import JobRecord

_MOST_REASON = 1024


class JobRun(ABC):
    """Runs the stored job `name`.

    Args:
        context: the local AWS.
        name: the job.
    """

    KIND: ClassVar[str]
    """`Processing` or `Transform`: members of the stored job begin with it."""
    HIDDEN: ClassVar[frozenset[str]] = frozenset()
    """Members that no event shows."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._name = name
        self._record = JobRecord(context, f"{self.KIND}Job", name, self.HIDDEN)
        self._folder = context.work_dir / "jobs" / self.KIND.lower() / name
        self._cancelled = threading.Event()

    def run(self) -> None:
        """Run the job to its end."""
        changes: Document = {}
        try:
            changes = self._work(self._record.read())
        except (ClientError, BotoCoreError, OSError) as error:
            changes = self._failed(f"ClientError: {error}")
        except Exception as error:
            changes = self._failed(f"InternalServerError: {error!r}")
            raise
        finally:
            if changes and not self._context.stopping.is_set():
                self._record.change(**(changes | {f"{self.KIND}EndTime": self._context.now()}))
            shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def stop(self) -> None:
        """End in order, as the Stop operation asks."""

    @abstractmethod
    def shut_down(self) -> None:
        """End at once; the stored status stays InProgress."""

    @abstractmethod
    def _work(self, job: Document) -> Document:
        """Do the job's work; returns the members that describe its end, none when the local AWS stops first."""

    def _begin_stopping(self) -> bool:
        """Change to `Stopping`, unless the job has ended or is stopping already; returns whether it changed."""
        return self._record.change(only_from="InProgress", **self._status("Stopping"))

    def _status(self, status: str) -> Document:
        return {f"{self.KIND}JobStatus": status}

    def _failed(self, reason: str) -> Document:
        return self._status("Failed") | {"FailureReason": reason[:_MOST_REASON]}
