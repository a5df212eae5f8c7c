"""The jobs that run now: started, found by name, stopped with the local AWS."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.jobs.channels import Downloader

GRACE_VARIABLE = "LOCAL_AWS_STOP_GRACE_SECONDS"
_STOP_GRACE_SECONDS = 120.0  # what SageMaker gives a job between SIGTERM and SIGKILL
_SHUTDOWN_SECONDS = 10.0
_ACT_AS_ROLE = {"TrainingJob", "ProcessingJob", "TransformJob"}


def stop_grace() -> float:
    """Seconds between SIGTERM and SIGKILL; `LOCAL_AWS_STOP_GRACE_SECONDS` shortens AWS's 120."""
    return float(os.environ.get(GRACE_VARIABLE, _STOP_GRACE_SECONDS))


class Run(Protocol):
    """What does the work of a job, a tuning job or a pipeline execution, in one thread."""

    def run(self) -> None:
        """Do the work; returns when the stored resource has its final status."""

    def stop(self) -> None:
        """End in order, as the Stop operation asks."""

    def shut_down(self) -> None:
        """End at once and leave the stored resource as it is, so that the next start can resume it."""


def from_before(context: Context, family: str) -> list[Document]:
    """The documents of a family that an earlier local AWS left.

    Clients may be faster than the thread that resumes: what they have created by then runs already.
    """
    return [document for document in context.table(family).all() if document["CreationTime"] < context.started]


class Jobs:
    """The jobs of one local AWS that run now, by family and name. Get it by `context.shared(Jobs)`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: dict[tuple[str, str], tuple[Run, threading.Thread]] = {}
        self._lock = threading.Lock()
        self.starting = threading.RLock()
        """Held from when a job is stored until it runs. Who stops a job holds it too, and so finds it running."""
        self.downloader = Downloader(context.client("s3"), context.state_dir / "downloads")
        context.on_stop(self._shut_down)

    def start(self, family: str, name: str, run: Run, first: Callable[[], None] = lambda: None) -> None:
        """Call `first` and do the work of `run` in the background; until it ends it is found as `family` and `name`."""

        def work() -> None:
            entry = (run, threading.current_thread())
            # A job acts as its role (a transform job as its model's); tuning jobs and executions set it themselves.
            job = self._context.table(family).get(name) if family in _ACT_AS_ROLE else None
            try:
                first()
                with self._context.acting((job or {}).get("RoleArn")):
                    run.run()
            finally:
                with self._lock:
                    # A retry may run under this name already, from when the stored status was final.
                    if self._running.get((family, name)) == entry:
                        del self._running[family, name]

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
