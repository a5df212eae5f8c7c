"""A job that is done in one go, processing or transform: it works, it ends, and what is stored says how."""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from typing import ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.context import Context
from local_aws.core.wire import Document

_MOST_REASON = 1024


class JobRun(ABC):
    """Runs the stored job `name`. Every change of it is saved at once and announced on the event bus.

    Args:
        context: the local AWS.
        name: the job.
    """

    KIND: ClassVar[str]
    """`Processing` or `Transform`: what the members of the stored job are named after."""
    UNSEEN: ClassVar[frozenset[str]] = frozenset()
    """Members that no event shows."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._name = name
        self._table = context.table(f"{self.KIND}Job")
        self._folder = context.state_dir / "jobs" / name
        self._cancelled = threading.Event()

    def run(self) -> None:
        """Run the job to its end."""
        changes: Document = {}
        try:
            changes = self._work(self._read())
        except (ClientError, BotoCoreError, OSError) as error:
            changes = self._failed(f"ClientError: {error}")
        except Exception as error:
            changes = self._failed(f"InternalServerError: {error!r}")
            raise
        finally:
            if changes and not self._context.stopping.is_set():
                self._change(**(changes | {f"{self.KIND}EndTime": self._context.now()}))
            shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def stop(self) -> None:
        """End in order, as the Stop operation asks."""

    @abstractmethod
    def shut_down(self) -> None:
        """End at once; the stored state says that the job was running."""

    @abstractmethod
    def _work(self, job: Document) -> Document:
        """Do it; returns the members that describe the end, none when the local AWS stops first."""

    def _read(self) -> Document:
        job = self._table.get(self._name)
        if job is None:
            raise KeyError(f"{self.KIND.lower()} job {self._name} is gone from the store")
        return job

    def _begin_stopping(self) -> bool:
        """Go to `Stopping`, unless the job has ended or is being stopped already; whether it did."""
        return self._change(only_from="InProgress", **self._status("Stopping"))

    def _change(self, *, only_from: str | None = None, **members: object) -> bool:
        """Set members of the stored job (only while it has a certain status, if one is given); whether it did."""
        members["LastModifiedTime"] = self._context.now()
        changed: list[bool] = []

        def change(stored: Document) -> None:
            if only_from in (None, stored[f"{self.KIND}JobStatus"]):
                stored.update(members)
                changed.append(True)

        job = self._table.update(self._name, change)
        if job is not None and changed:
            self._announce(job)
        return bool(changed)

    def _announce(self, job: Document) -> None:
        shown = {key: value for key, value in job.items() if key not in self.UNSEEN}
        detail = {key: int(value * 1000) if key.endswith("Time") else value for key, value in shown.items()}
        self._context.emit_event(f"SageMaker {self.KIND} Job State Change", detail, [job[f"{self.KIND}JobArn"]])

    def _status(self, status: str) -> Document:
        return {f"{self.KIND}JobStatus": status}

    def _failed(self, reason: str) -> Document:
        return self._status("Failed") | {"FailureReason": reason[:_MOST_REASON]}
