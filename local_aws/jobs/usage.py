"""What a job's machines use, published as SageMaker does: the metrics that tell whether an instance is too large.

SageMaker publishes once a minute; jobs are shorter here, so this looks once a second. This computer stands in for the
instance: processor time is per cent of one core, so that two busy cores are 200; memory is a share of this computer's.
There is no GPU metric, as on an instance without one.
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
# Walking a folder of many thousand photos takes longer than asking the processes.
_DISK_EVERY = 10
_GIB = 1024**3


@dataclass(frozen=True)
class Watched:
    """One machine of a job.

    Args:
        host: `<job>/algo-1`, the metrics' dimension.
        pid: the process under which all of the machine's processes are.
        folder: what stands in for its `/opt/ml`.
        volume_gb: size of the volume that the request asked for.
    """

    host: str
    pid: int
    folder: Path
    volume_gb: int


class UsageSampler:
    """Samples the machines of one job until it is stopped.

    Args:
        emitter: receives CPUUtilization, MemoryUtilization and DiskUtilization.
        namespace: for example `/aws/sagemaker/TrainingJobs`.
        machines: what to look at.
    """

    def __init__(self, emitter: MetricEmitter, namespace: str, machines: Sequence[Watched]) -> None:
        self._emitter = emitter
        self._namespace = namespace
        self._machines = [_Machine(machine) for machine in machines]
        self._stopped = threading.Event()

    def start(self, start_thread: Callable[[str, Callable[[], None]], object]) -> None:
        """Begin, in a thread made by `start_thread`."""
        start_thread("usage", self._run)

    def stop(self) -> None:
        """Publish nothing more."""
        self._stopped.set()

    def _run(self) -> None:
        tick = 0
        while not self._stopped.wait(_INTERVAL_SECONDS):
            for machine in self._machines:
                for name, value in machine.sample(with_disk=tick % _DISK_EVERY == 0):
                    self._emitter.put(self._namespace, name, value, {"Host": machine.host}, unit="Percent")
            tick += 1


class _Machine:
    def __init__(self, watched: Watched) -> None:
        self.host = watched.host
        self._watched = watched
        self._looked = time.monotonic()
        self._used = 0.0

    def sample(self, *, with_disk: bool) -> Iterator[tuple[str, float]]:
        """What is used now; nothing once the machine's processes are gone."""
        processes = _tree(self._watched.pid)
        if not processes:
            return
        now, used = time.monotonic(), sum(map(_processor_seconds, processes))
        # A child that nobody has waited for yet takes its seconds with it for a moment; time used never falls.
        yield "CPUUtilization", max(0.0, 100 * (used - self._used) / max(now - self._looked, 1e-3))
        self._looked, self._used = now, max(used, self._used)
        yield "MemoryUtilization", 100 * sum(map(_memory, processes)) / psutil.virtual_memory().total
        if with_disk:
            yield "DiskUtilization", 100 * _size(self._watched.folder) / (self._watched.volume_gb * _GIB)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _processor_seconds(process: psutil.Process) -> float:
    """Of a process and of those of its children that have ended."""
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
