"""The work in progress of one local AWS: started, found by name, interrupted, and taken up again after a restart."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.lifecycle import on_start
from local_aws.core.wire import Document
from local_aws.jobs.channels import Downloader

GRACE_VARIABLE = "LOCAL_AWS_STOP_GRACE_SECONDS"
_STOP_GRACE_SECONDS = 120.0  # what SageMaker gives a job between SIGTERM and SIGKILL
_SHUTDOWN_SECONDS = 10.0
_ACT_AS_ROLE = {"TrainingJob", "ProcessingJob", "TransformJob"}
_STARTED = time.time()
"""When this module was imported, which is before the port opens."""


def stop_grace() -> float:
    """Seconds between SIGTERM and SIGKILL; `LOCAL_AWS_STOP_GRACE_SECONDS` shortens AWS's 120."""
    return float(os.environ.get(GRACE_VARIABLE, _STOP_GRACE_SECONDS))


class Run(Protocol):
    """Something that runs in a thread of its own until it ends or is told to."""

    def run(self) -> None:
        """Do the work; returns when the stored resource has reached its final state."""

    def stop(self) -> None:
        """End in order, as the Stop operation asks."""

    def shut_down(self) -> None:
        """End at once and leave the stored resource as it is, to be taken up after a restart."""


Resume = Callable[[Context], None]
_RESUME: list[tuple[int, Resume]] = []


def resumes(*, order: int) -> Callable[[Resume], Resume]:
    """Have the decorated function called when a local AWS starts, to take up what an earlier one left unfinished.

    Args:
        order: jobs come first (0), then what waits for them: tuning jobs (1), pipeline executions (2).
    """

    def register(function: Resume) -> Resume:
        _RESUME.append((order, function))
        return function

    return register


def from_before(context: Context, family: str) -> list[Document]:
    """The documents of a family that an earlier local AWS left.

    Clients may be faster than the resuming thread: what they have created by then is running already.
    """
    return [document for document in context.table(family).all() if document["CreationTime"] < _STARTED]


class Jobs:
    """What runs now, by family and name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: dict[tuple[str, str], tuple[Run, threading.Thread]] = {}
        self._lock = threading.Lock()
        self.downloader = Downloader(context.client("s3"), context.state_dir / "downloads")
        context.on_stop(self._shut_down)

    def start(self, family: str, name: str, run: Run) -> None:
        """Let `run` run in the background, findable as `family` and `name` until it ends."""

        def work() -> None:
            # A job acts as its role (a transform job as its model's); tuning and pipelines say themselves who acts.
            job = self._context.table(family).get(name) if family in _ACT_AS_ROLE else None
            try:
                with self._context.acting((job or {}).get("RoleArn")):
                    run.run()
            finally:
                with self._lock:
                    self._running.pop((family, name), None)

        with self._lock:
            if self._context.stopping.is_set():
                return
            thread = self._context.start_thread(f"{family}/{name}", work)
            self._running[family, name] = (run, thread)

    def find(self, family: str, name: str) -> Run | None:
        """What runs under this name, or None."""
        with self._lock:
            found = self._running.get((family, name))
        return found[0] if found else None

    def wait(self, family: str, name: str) -> None:
        """Return when nothing runs under this name any more; at once when nothing does."""
        with self._lock:
            found = self._running.get((family, name))
        if found:
            found[1].join()

    def _shut_down(self) -> None:
        with self._lock:
            running = list(self._running.values())
        for run, _ in running:
            run.shut_down()
        for _, thread in running:
            thread.join(_SHUTDOWN_SECONDS)


_JOBS: WeakKeyDictionary[Context, Jobs] = WeakKeyDictionary()
_JOBS_LOCK = threading.Lock()


def jobs_of(context: Context) -> Jobs:
    """The one `Jobs` of a local AWS."""
    with _JOBS_LOCK:
        if context not in _JOBS:
            _JOBS[context] = Jobs(context)
        return _JOBS[context]


@on_start
def resume(context: Context) -> None:
    """Take up every job, trial and execution that was running when the local AWS last stopped."""
    jobs_of(context)
    for _, function in sorted(_RESUME, key=lambda entry: entry[0]):
        function(context)


def reclaim(context: Context, name: str) -> None:
    """Take the spot capacity of a running training job away, as AWS does without asking.

    Raises `AwsError` when no such job runs or it does not run on spot capacity.
    """
    from local_aws.jobs.training_run import TrainingRun

    run = jobs_of(context).find("TrainingJob", name)
    if not isinstance(run, TrainingRun):
        raise AwsError("ResourceNotFound", f"No training job {name} is running")
    if not run.reclaim():
        raise validation(f"Training job {name} does not run on managed spot capacity, or is not training now")
