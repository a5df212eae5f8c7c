"""This computer: processes that must not outlive the local AWS, and ports on loopback."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import socket
import sys
from collections.abc import Iterable

import psutil

PROCESS_MARK = "BINVENTORY_LOCAL_AWS"
"""Environment variable that every process of a local AWS carries; its value is the state directory.

A process that carries it is stopped with its local AWS, or at the next start if the server itself was killed."""
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 2.0


def free_port() -> int:
    """A port on loopback that no process listens on, and that the system gives to no other for a minute.

    Who is to listen on it may take seconds to start. Meanwhile a connection that has just ended holds it: only who asks
    for this port and sets SO_REUSEADDR, as servers do, gets it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()  # the end that closes first waits, and this one has the port
        port: int = listener.getsockname()[1]
        return port


def accepts_connections(port: int) -> bool:
    """Whether a process listens on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def http_status(port: int, path: str, seconds: float) -> int | None:
    """The status of a GET on loopback; None when there is no reply within `seconds`."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned grandchildren, so that it still finds them (Linux only)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_tree(pid: int) -> None:
    """End a process and all its descendants as a power failure does: none lives to see another's end.

    No error when it is gone.
    """
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        frozen: dict[int, psutil.Process] = {}
        # Each is stopped before it is asked for its children, so it starts no more; parents come before children.
        found = [parent]
        while found:
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
                frozen[process.pid] = process
            found = [child for child in parent.children(recursive=True) if child.pid not in frozen]
        for process in frozen.values():
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(frozen.values()), timeout=_GRACE_SECONDS)


def stop_children() -> None:
    """End every descendant of this process."""
    stop(psutil.Process().children(recursive=True))


def server_of(state_dir: str, pid: int) -> psutil.Process | None:
    """The server of the local AWS in `state_dir`, if it is the process `pid`; after a restart of this computer another
    process may have that number."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        command = process.cmdline()
        if "local_aws" in command and state_dir in command:
            return process
    return None


def ends(process: psutil.Process, seconds: float) -> bool:
    """Whether a process ends by itself within that time."""
    return bool(psutil.wait_procs([process], timeout=seconds)[0])


def marked(value: str, mark: str = PROCESS_MARK) -> list[psutil.Process]:
    """Every other process of this user that has the variable `mark` with this value: a local AWS's state directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(mark) == value:
                found.append(process)
    return found


def sweep(state_dir: str) -> None:
    """End every process that carries the mark of the local AWS in `state_dir`."""
    stop(marked(state_dir))


def stop(processes: Iterable[psutil.Process], *, grace: float = _GRACE_SECONDS) -> None:
    """End these processes: SIGTERM, then after `grace` seconds SIGKILL. Returns when they are gone."""
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(alive, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace)
