"""Workers of Python functions, forked from a process that has imported boto3: a fifth of a cold start's processor time.

A function that needs its own interpreter gets it: one that packs a module which boto3 imports too, or sets a
variable that an interpreter reads when it starts. So does every function on a system other than Linux, whose libraries
may not survive a fork.

Uses these internals of version 1.5.33: `core.lambda_runtime` starts a worker by `subprocess.Popen([interpreter,
script], cwd=..., env=..., three pipes, text=True)`, and uses of the process what `_Forked` has.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import psutil

SCRIPT: Final = "_worker.py"
"""The name of the script that a function's worker runs."""
_READ_AT_START: Final = ("BOTO_", "GLIBC_", "LANG", "LC_", "LD_", "MALLOC_", "OPENSSL_", "PYTHON")
"""How variables start that an interpreter, its libraries or boto3 read before a function's code runs."""
FORKING: Final = Path(__file__).with_name("worker_forks.py")
"""What the process that forks runs."""


def fork_workers() -> None:
    """Have ministack fork the workers of Python functions."""
    from ministack.core import lambda_runtime

    if sys.platform != "linux":
        return
    forks = _Forks()
    runtime: Any = lambda_runtime  # which uses nothing else of the module
    runtime.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": forks.start})


class _Forks:
    """The process that forks, from the first worker on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self, command: Sequence[str], **options: Any) -> Any:
        """What `subprocess.Popen` would return."""
        if os.path.basename(command[-1]) == SCRIPT and not _differs_at_start(options["env"]):
            forked = self._forked(command[-1], options["cwd"], options["env"])
            if forked is not None:
                return forked
        return subprocess.Popen(command, **options)

    def _forked(self, script: str, folder: str, environment: Mapping[str, str]) -> _Forked | None:
        """None where this function's worker needs its own interpreter, and where the process that forks ended."""
        request = json.dumps({"script": script, "folder": folder, "environment": dict(environment)}).encode()
        pipes = [os.pipe() for _ in range(3)]
        (its_input, stdin), (stdout, its_output), (stderr, its_errors) = pipes
        pid = self._ask(request, its_input, its_output, its_errors)
        for end in (its_input, its_output, its_errors):
            os.close(end)
        if pid:
            return _Forked(pid, stdin, stdout, stderr)
        for end in (stdin, stdout, stderr):
            os.close(end)
        return None

    def _ask(self, request: bytes, *files: int) -> int:
        """The new process's id, or 0."""
        with self._lock:
            try:
                if self._socket is None:
                    self._process, self._socket = _start()
                socket.send_fds(self._socket, [request], files)
                answer = self._socket.recv(64)
            except OSError:
                answer = b""
            if not answer and self._socket is not None:  # it ended: the next worker starts another one
                self._socket.close()
                self._socket = None
                if self._process:
                    self._process.wait()
        return int(answer or 0)


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new process that forks, and its socket, with which it ends."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps requests apart
    with its:
        command = [sys.executable, str(FORKING), str(its.fileno())]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()]), ours


def _differs_at_start(environment: Mapping[str, str]) -> bool:
    """Whether an interpreter that started in `environment` might be another one than this process's."""
    names = {name for name in (*environment, *os.environ) if name.startswith(_READ_AT_START)}
    return any(environment.get(name) != os.environ.get(name) for name in names)


class _Forked:
    """What ministack uses of a `Popen`."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = os.fdopen(stdin, "w", buffering=1)
        self.stdout = os.fdopen(stdout)
        self.stderr = os.fdopen(stderr)
        self._process: psutil.Process | None = None
        with suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None:
            try:
                status = self._process.wait(timeout) if self._process else None
            except psutil.TimeoutExpired:
                raise subprocess.TimeoutExpired(SCRIPT, timeout or 0) from None
            self.returncode = status or 0  # None where another thread learned it
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        with suppress(psutil.NoSuchProcess):
            if self._process:
                self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        with suppress(psutil.NoSuchProcess):
            if self._process:
                self._process.kill()
