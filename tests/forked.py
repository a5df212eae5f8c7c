"""Local AWSs for tests that only use one: forked from a process that has imported it, which is most of a start.

A test of how a local AWS starts, ends, is killed or continues takes `LocalAws` itself.

`python -m tests.forked FD` is the process that forks. It has one thread and ends when the other end of its socket,
file descriptor FD, closes. A request is a JSON list of arguments and environment, with two files: standard input and
output. The answer is the new process's id.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, BinaryIO, NoReturn

import psutil

from local_aws.server import REGION, REPOSITORY, LocalAws, clean_environment

_IMPORTED_LATE = (
    "cryptography.hazmat.primitives.serialization",
    "defusedxml.ElementTree",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
    "yaml",
)
"""By ministack and uvicorn once they serve.

ministack itself is imported by each fork, because it reads the environment then.
"""


class ForkedAws(LocalAws):
    """A `LocalAws` with the same arguments, environment, session, log and watch over its parent."""

    @property
    def running(self) -> bool:
        """Whether its process runs; a forked process does not show the command that `LocalAws` looks for."""
        return self._process is not None and self._process.poll() is None

    def _launch(self, command: list[str], environment: dict[str, str], log: BinaryIO) -> Any:
        if sys.platform != "linux":  # elsewhere the system's libraries may not survive a fork
            return super()._launch(command, environment, log)
        reading, writing = os.pipe()
        try:
            return _Forked(_forks().fork(command[2:], environment, reading, log.fileno()), writing)
        finally:
            os.close(reading)


class _Forked:
    """What `LocalAws` uses of a `Popen`, for a process that is no child of this one."""

    def __init__(self, pid: int, stdin: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb", buffering=0)
        self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """None while it runs; nobody learns its exit status."""
        return None if self._process.is_running() else 0

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        with suppress(psutil.NoSuchProcess):
            self._process.terminate()

    def wait(self, timeout: float | None = None) -> None:
        """Return when it has ended; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        try:
            self._process.wait(timeout)
        except psutil.TimeoutExpired:
            raise subprocess.TimeoutExpired("local_aws", timeout or 0) from None


class _Forks:
    """The process that forks."""

    def __init__(self) -> None:
        self._socket, its = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(its.fileno())],
            cwd=REPOSITORY,
            env=clean_environment(),  # as every local AWS has it
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
        its.close()
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()

    def fork(self, arguments: list[str], environment: dict[str, str], *files: int) -> int:
        """The id of a new local AWS with these arguments, environment, standard input and output."""
        socket.send_fds(self._socket, [json.dumps([arguments, environment]).encode()], files)
        return int(self._socket.recv(64))


@cache
def _forks() -> _Forks:
    """One for each process that runs tests."""
    return _Forks()


def main() -> None:
    """Import, read the descriptions of services, then fork a local AWS for each request."""
    gc.disable()
    from local_aws import process
    from local_aws.core import descriptions, shapes

    for module in _IMPORTED_LATE:
        import_module(module)
    shapes.service_model()
    # Any client reads the descriptions of regions and addresses; one without keys would look for some.
    descriptions.session().create_client("s3", REGION, aws_access_key_id="none", aws_secret_access_key="none")
    gc.freeze()
    signal.signal(signal.SIGCHLD, _collect)
    requests = socket.socket(fileno=int(sys.argv[1]))
    while True:
        request, files, _, _ = socket.recv_fds(requests, 2**20, 2)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(process.main, *json.loads(request), *files)
        requests.send(str(pid).encode())
        for file in files:
            os.close(file)


def _collect(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(serve: Any, arguments: list[str], environment: dict[str, str], stdin: int, stdout: int) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for file, number in ((stdin, 0), (stdout, 1), (stdout, 2)):
        os.dup2(file, number)
    os.close(stdin)
    os.close(stdout)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments[1:]
    serve()
    raise AssertionError("a local AWS ends its process")


if __name__ == "__main__":
    main()
