"""Contestants as processes, and load on them: photos over HTTP in closed loops."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

_START_SECONDS: Final = 300.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass
class Sample:
    """What a contestant did at one concurrency, over all rounds."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall if self.wall else 0.0

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds of the contestant for one answer; hardly depends on what else runs."""
        return 1000 * self.cpu / len(self.seconds) if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        if len(self.seconds) < 2:
            return float("nan")
        return 1000 * statistics.quantiles(self.seconds, n=100, method="inclusive")[round(share * 100) - 1]


class NoAnswer(Exception):
    """A contestant does not start here."""


class Connection:
    """A connection that sends a request in one piece, and reads no more of the answer's head than it needs.

    Python's client sends headers and body apart, which wakes a server twice, and parses each header for a message. That
    is the client's time, and both share the processor.
    """

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/jpeg\r\ncontent-length: "

    def ask(self, photo: bytes) -> bool:
        """Whether the photo was answered. Raises OSError where the connection ends or the answer says no length."""
        self._socket.sendall(f"{self._start}{len(photo)}\r\n\r\n".encode() + photo)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._more()
        length = _LENGTH.search(answer, 0, end + 2)
        if length is None:
            raise OSError("the answer does not say its length")
        while len(answer) < end + 4 + int(length[1]):
            answer += self._more()
        return answer.startswith(b"HTTP/1.1 200")

    def _more(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the server ended the connection")
        return received

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()


class Contestant:
    """A server process with everything it starts."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, path: str, environment: dict[str, str], folder: Path
    ) -> None:
        self.name = name
        self.path = path
        self.port = port
        self.peak_bytes = 0
        self._peaks: dict[int, int] = {}
        self._begun = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def first_answer(self, photo: bytes) -> float:
        """Seconds from the start of the process to its first answer. Raises NoAnswer."""
        while time.perf_counter() - self._begun < _START_SECONDS:
            try:
                with contextlib.closing(self._connect()) as connection:
                    if connection.ask(photo):
                        return time.perf_counter() - self._begun
            except OSError:
                pass
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise NoAnswer(f"it gave no answer within {_START_SECONDS:.0f} seconds")

    def each(self, photos: Sequence[bytes]) -> list[float]:
        """Seconds of each photo's answer, one after the other. Raises NoAnswer for one without."""
        seconds = []
        with contextlib.closing(self._connect()) as connection:
            for photo in photos:
                begun = time.perf_counter()
                if not connection.ask(photo):
                    raise NoAnswer("it refused a photo")
                seconds.append(time.perf_counter() - begun)
        return seconds

    def run(self, photos: Sequence[bytes], *, concurrency: int, requests: int, seconds: float, into: Sample) -> None:
        """Send at most `requests` photos for at most `seconds`, from `concurrency` loops with a connection each."""
        turns = iter(range(requests))
        lock = threading.Lock()
        deadline = time.perf_counter() + seconds

        def loop() -> None:
            connection: Connection | None = None
            while time.perf_counter() < deadline:
                with lock:
                    turn = next(turns, None)
                if turn is None:
                    return
                answered, taken = False, 0.0
                try:
                    # Again for each photo where it has ended: they are errors, and not photos that nobody has sent.
                    connection = connection or self._connect()
                    begun = time.perf_counter()
                    answered = connection.ask(photos[turn % len(photos)])
                    taken = time.perf_counter() - begun
                except OSError:
                    connection = None
                with lock:
                    into.errors += not answered
                    if answered:
                        into.seconds.append(taken)

        cpu, begun = self._cpu_seconds(), time.perf_counter()
        with ThreadPoolExecutor(concurrency) as pool:
            for running in [pool.submit(loop) for _ in range(concurrency)]:
                running.result()
        into.wall += time.perf_counter() - begun
        into.cpu += self._cpu_seconds() - cpu
        self._note_memory()

    def stop(self) -> None:
        """End it and all it started."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _connect(self) -> Connection:
        return Connection(self.port, self.path)

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def _cpu_seconds(self) -> float:
        total = 0.0
        for process in self._tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def _note_memory(self) -> None:
        """The sum of every process's own peak; shared pages of forked workers count in each, as they do for limits."""
        for process in self._tree():
            peak = high_water(process.pid)
            self._peaks[process.pid] = max(peak, self._peaks.get(process.pid, 0))
        self.peak_bytes = sum(self._peaks.values())


def high_water(pid: int) -> int:
    """The most memory that a process has had, in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
