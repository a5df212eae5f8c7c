"""Processes that must not outlive the local AWS: found by descent and by a mark in their environment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 2.0


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned grandchildren, so that they stay findable (Linux only)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stop_one(pid: int, *, grace: float) -> None:
    """End one process, leaving it `grace` seconds to end its children in order."""
    with contextlib.suppress(psutil.NoSuchProcess):
        stop([psutil.Process(pid)], grace=grace)


def stop_tree(pid: int, *, grace: float = _GRACE_SECONDS) -> None:
    """End a process and all its descendants: SIGTERM, then after `grace` seconds SIGKILL. No error when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        stop([*parent.children(recursive=True), parent], grace=grace)


def stop_children(*, grace: float = _GRACE_SECONDS) -> None:
    """End every descendant of this process."""
    stop(psutil.Process().children(recursive=True), grace=grace)


def marked(name: str, value: str) -> list[psutil.Process]:
    """Every other process of this user whose environment has `name` set to `value`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(name) == value:
                found.append(process)
    return found


def sweep(name: str, value: str, *, grace: float = _GRACE_SECONDS) -> None:
    """End every process that carries the mark: what a server that was killed outright left behind."""
    stop(marked(name, value), grace=grace)


def stop(victims: Iterable[psutil.Process], *, grace: float = _GRACE_SECONDS) -> None:
    """End these processes, politely first; returns when they are gone."""
    alive = list(victims)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(alive, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace)
