"""CPUUtilization, MemoryUtilization and DiskUtilization of a job's machines, which show an instance that is too large.

SageMaker publishes them once a minute, this module once a second, because jobs are shorter here. This computer stands
in for the instance. CPUUtilization is per cent of one core, so that two busy cores are 200; memory is a share of this
computer's. There is no GPU metric, as on an instance without a GPU.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_aws.core.metrics import MetricEmitter

_INTERVAL_SECONDS = 1.0
# To walk a folder of many thousand photos takes longer than to sample the processes.
_DISK_EVERY = 10
_GIB = 1024**3


@dataclass(frozen=True)
class Watched:
    """One machine of a job.

    Args:
        host: `<job>/algo-1`, the metrics' dimension.
        pid: the process whose descendants are the machine's processes.
        folder: stands in for its `/opt/ml`.
        disk_gb: size of its volume or local disk; 0 where that is unknown.
    """

    host: str
    pid: int
    folder: Path
    disk_gb: int


class UsageSampler:
    """Samples the machines of one job until it is stopped.

    Args:
        emitter: receives CPUUtilization, MemoryUtilization and DiskUtilization.
        namespace: for example `/aws/sagemaker/TrainingJobs`.
        machines: to sample.
    """

    def __init__(self, emitter: MetricEmitter, namespace: str, machines: Sequence[Watched]) -> None:
        self._emitter = emitter
        self._namespace = namespace
        self._machines = [_Sampler(machine) for machine in machines]
        self._stopped = threading.Event()

    def start(self, start_thread: Callable[[str, Callable[[], None]], object]) -> None:
        """Start, in a thread that `start_thread` makes."""
        start_thread("usage", self._run)

    def stop(self) -> None:
        """Stop publishing."""
        self._stopped.set()

    def _run(self) -> None:
        tick = 0
        while not self._stopped.wait(_INTERVAL_SECONDS):
            for machine in self._machines:
                for name, value in machine.sample(with_disk=tick % _DISK_EVERY == 0):
                    self._emitter.put(self._namespace, name, value, {"Host": machine.host}, unit="Percent")
            tick += 1


class _Sampler:
    def __init__(self, watched: Watched) -> None:
        self.host = watched.host
        self._watched = watched
        self._looked = time.monotonic()
        self._used = 0.0

    def sample(self, *, with_disk: bool) -> Iterator[tuple[str, float]]:
        """The present usage; nothing when the machine's processes have ended."""
        processes = _tree(self._watched.pid)
        if not processes:
            return
        now, used = time.monotonic(), sum(map(_processor_seconds, processes))
        # The seconds of a child that has ended are missing until it is waited for; used time never falls.
        yield "CPUUtilization", max(0.0, 100 * (used - self._used) / max(now - self._looked, 1e-3))
        self._looked, self._used = now, max(used, self._used)
        yield "MemoryUtilization", 100 * sum(map(_memory, processes)) / psutil.virtual_memory().total
        if with_disk and self._watched.disk_gb:
            yield "DiskUtilization", 100 * _size(self._watched.folder) / (self._watched.disk_gb * _GIB)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _processor_seconds(process: psutil.Process) -> float:
    """Processor seconds of a process and of its children that have ended."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _memory(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss)
    return 0.0


def _size(folder: Path) -> float:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return float(total)
