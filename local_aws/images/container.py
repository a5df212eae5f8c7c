"""A container as one process under the supervisor: started, its output read line by line, ended."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.images.filesystem import SUPERVISOR, inside, why_shared

_BASE = re.compile(r"(?<![\w.-])/opt/ml(?![\w.-])")
_MAX_LINE = 256 * 1024  # the limit of an event in CloudWatch Logs

LineReader = Callable[[str], None]


def rebase(text: str, root: Path) -> str:
    """`text` with `/opt/ml` replaced by `root`, the folder that stands in for it, wherever it begins a path."""
    return _BASE.sub(lambda _: str(root), text)


def rebase_inside(text: str, root: Path) -> str:
    """`text` as a container can use it whose `/opt/ml` is `root`: unchanged where it has its own."""
    return rebase(text, inside(root))


@dataclass(frozen=True)
class ContainerSpec:
    """What a container runs.

    Args:
        command: program and arguments.
        environment: all variables; none is inherited.
        directory: working directory.
        opt_ml: the folder that its processes see as `/opt/ml`, where this computer allows it.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    opt_ml: Path | None = None


@dataclass(eq=False)
class Container:
    """A running container. `start` makes it; `wait` returns its exit status when all its processes have ended."""

    process: subprocess.Popen[bytes]
    reader: threading.Thread
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, spec: ContainerSpec, read_line: LineReader) -> Container:
        """Start `spec` and call `read_line` for every line that it prints (stdout and stderr as one stream)."""
        own = ["--opt-ml", str(spec.opt_ml)] if spec.opt_ml is not None and why_shared() is None else []
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), *own, *spec.command],
            env=dict(spec.environment),
            cwd=spec.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = threading.Thread(target=_read, args=(process, read_line), name="container-output", daemon=True)
        reader.start()
        return cls(process, reader)

    def terminate(self) -> None:
        """Send SIGTERM to the first process, which may pass it on."""
        self._send(b"TERM\n")

    def kill(self) -> None:
        """Send SIGKILL to all processes."""
        self._send(b"KILL\n")

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status (128 + N after signal N) when all output has been read; None after `timeout` seconds."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        self.reader.join()
        with self._lock, contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        return status if status >= 0 else 128 - status

    def _send(self, line: bytes) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.write(line)
                self.process.stdin.flush()


def _read(process: subprocess.Popen[bytes], read_line: LineReader) -> None:
    stream = process.stdout
    if stream is None:
        return
    with stream:
        for line in iter(lambda: stream.readline(_MAX_LINE), b""):
            read_line(line.decode("utf-8", "replace").rstrip("\r\n"))


def end_containers(containers: Iterable[Container], grace: float) -> None:
    """End several containers together: SIGTERM, after `grace` seconds SIGKILL; returns when all have ended."""
    running = [container for container in containers if container.wait(0) is None]
    if grace > 0:
        deadline = time.monotonic() + grace
        for container in running:
            container.terminate()
        running = [c for c in running if c.wait(max(0.0, deadline - time.monotonic())) is None]
    for container in running:
        container.kill()
    for container in running:
        container.wait()
