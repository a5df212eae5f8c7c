"""Number of threads that this container can use: its share of the machine."""

from __future__ import annotations

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_TOPOLOGY = Path("/sys/devices/system/cpu")


def usable_cpus(cpu_max: Path = _CPU_MAX) -> int:
    """CPUs (hyperthreads) on which this process may run: its affinity, limited by its cgroup's quota; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))


def inference_threads(cpu_max: Path = _CPU_MAX, topology: Path = _TOPOLOGY) -> int:
    """Threads for matrix arithmetic: one a physical core, since two hyperthreads share one core's multipliers.

    Without information about the topology, every usable CPU counts as a core.
    """
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            cores.add((topology / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, min(len(cores), usable_cpus(cpu_max)))
