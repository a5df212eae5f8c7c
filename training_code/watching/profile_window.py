"""Profiling: times of all steps, torch.profiler over a window of steps, and the classic rules on both."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fitting.loop import EpochResult, StepResult
from fitting.ranks import Ranks
from serving.cores import usable_cpus
from watching.rules import RuleReport


@dataclass(frozen=True)
class StepTime:
    """One step, seconds: waiting for the batch, and everything."""

    waited: float
    total: float


@dataclass(frozen=True)
class MeasuredTimes:
    """The measurements that the rules judge."""

    initialisation: float
    """Seconds from the start of the process to the first step."""
    steps: tuple[StepTime, ...]
    rank_seconds: tuple[float, ...]
    """Mean seconds a step computes, by rank."""
    cpu_share: float
    """Processor time over wall time and cores, 0 to 1."""
    threads: int
    """Threads that decode photos; 0: nothing to decode."""
    cores: int
    gpu: bool
    gpu_memory: tuple[float, ...] = ()
    """Share of the GPU's memory in use, by epoch."""
    gpu_busy: float = 0.0
    """Share of the profiled window in which the GPU computed."""


class RunProfiler:
    """A watcher that times steps, and profiles the operators of the steps [5, 5 + window)."""

    FIRST = 5

    def __init__(self, window: int, ranks: Ranks, threads: int) -> None:
        self._window = window
        self._ranks = ranks
        self._threads = threads
        self._steps: list[StepTime] = []
        self._first_step: float | None = None
        self._last = time.monotonic()
        self._cpu = time.process_time()
        self._memory: list[float] = []
        self._profiler: Any = None
        self._closed = False
        self._opened = 0.0
        self.operators: list[dict[str, Any]] = []
        self._gpu_busy = 0.0

    def on_step(self, result: StepResult) -> None:
        """Note the time since the last step, and open or close the window."""
        now = time.monotonic()
        if self._first_step is None:
            self._first_step = now
            self._cpu = time.process_time()
        elif len(self._steps) < 100_000:
            self._steps.append(StepTime(result.waited, now - self._last))
        self._last = now
        if self._window:
            self._turn_window(len(self._steps))

    def on_epoch(self, history: Sequence[EpochResult]) -> None:
        """Note the GPU's memory; validation is no step."""
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            self._memory.append(1 - free / total)
        self._last = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Nothing: times belong to a process, not to a run."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def measured(self) -> MeasuredTimes:
        """The run's times. Every rank must call it. A window that the run was too short for ends here."""
        self._close_window()
        if self._window and self._profiler is None and self._ranks.is_first:
            steps = len(self._steps) + (self._first_step is not None)
            print(f"warning: profile-steps {self._window} profiled nothing: its window begins after {self.FIRST} "
                  f"steps, and here were {steps}", file=sys.stderr, flush=True)  # fmt: skip
        first = self._first_step if self._first_step is not None else time.monotonic()
        wall = max(1e-9, time.monotonic() - first)
        cores = usable_cpus()
        own = statistics.fmean(step.total - step.waited for step in self._steps) if self._steps else 0.0
        return MeasuredTimes(
            initialisation=first - _process_start(),
            steps=tuple(self._steps),
            rank_seconds=tuple(self._ranks.gather(own)),
            cpu_share=(time.process_time() - self._cpu) / wall / cores,
            threads=self._threads,
            cores=cores,
            gpu=torch.cuda.is_available(),
            gpu_memory=tuple(self._memory),
            gpu_busy=self._gpu_busy,
        )

    def _turn_window(self, step: int) -> None:
        if step == self.FIRST and self._profiler is None:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=activities)
            self._profiler.start()
            self._opened = time.monotonic()
        elif step == self.FIRST + self._window:
            self._close_window()

    def _close_window(self) -> None:
        """End the window, if one is open, and keep the operators that took longest."""
        if self._profiler is None or self._closed:
            return
        self._closed = True
        self._profiler.stop()
        averages = self._profiler.key_averages()
        wall = time.monotonic() - self._opened
        self._gpu_busy = min(1.0, sum(event.self_device_time_total for event in averages) / 1e6 / wall)
        top = sorted(averages, key=lambda event: -(event.self_cpu_time_total + event.self_device_time_total))[:20]
        self.operators = [
            {
                "operator": event.key, "calls": event.count,
                "cpu_ms": round(event.self_cpu_time_total / 1000, 3),
                "gpu_ms": round(event.self_device_time_total / 1000, 3),
            }
            for event in top
        ]  # fmt: skip


def profile_rules(measured: MeasuredTimes) -> list[RuleReport]:
    """The profiler report's rules on one run. Those about a GPU have no data points without one."""
    steps = measured.steps
    total = sum(step.total for step in steps)
    waited = sum(step.waited for step in steps) / total if total else 0.0
    mean = statistics.fmean(step.total for step in steps) if steps else 0.0
    spread = statistics.pstdev(step.total for step in steps) if steps else 0.0
    outliers = sum(step.total > mean + 3 * spread for step in steps)
    run = measured.initialisation + total
    balance = max(measured.rank_seconds) / max(1e-9, min(measured.rank_seconds))
    memory, gpu = measured.gpu_memory, len(measured.gpu_memory)
    grown = memory[-1] - memory[0] if memory else 0.0
    idle_cores = measured.threads > 0 and measured.threads < measured.cores and waited > 0.2
    rule = _Table()
    rule.add("io-bottleneck", "share of the steps' time spent waiting for batches", 0.5, waited, len(steps),
             "Raise threads, use a machine with more cores, or embed once and train on features.",
             times=sum(step.waited > 0.5 * step.total for step in steps))  # fmt: skip
    rule.add("step-outliers", "share of steps longer than the mean by 3 deviations", 0.05,
             outliers / max(1, len(steps)), len(steps),
             "Look for other load on the machine, large photos, or checkpoints that are too frequent.",
             times=outliers)  # fmt: skip
    rule.add("initialisation-time", "share of the run before its first step", 0.5,
             measured.initialisation / run if run else 0.0, 1,
             "Train longer in one job, or make fewer and larger shards.")  # fmt: skip
    rule.add("load-balance", "slowest rank's step over the fastest's", 1.5, balance, len(measured.rank_seconds),
             "Use equal machines; a slow one holds back all.")  # fmt: skip
    rule.add("cpu-bottleneck", "processor use while batches are waited for", 0.9,
             measured.cpu_share if waited > 0.2 else 0.0, len(steps),
             "The cores cannot decode faster: take a machine with more of them.")  # fmt: skip
    rule.add("dataloader-workers", "fewer threads than cores while batches are waited for", 0.5,
             float(idle_cores), 1 if measured.threads else 0, "Raise threads to the number of cores.")  # fmt: skip
    rule.add("batch-size", "share of GPU memory that is never used", 0.7, 1 - max(memory) if memory else 0.0, gpu,
             "Raise batch-size, or take a smaller GPU.")  # fmt: skip
    rule.add("gpu-memory-increase", "growth of GPU memory in use over the run", 0.05, grown, gpu,
             "Look for tensors that are kept between steps.")  # fmt: skip
    rule.add("low-gpu-utilisation", "share of the profiled window in which the GPU idled", 0.3,
             1 - measured.gpu_busy if measured.gpu_busy else 0.0, 1 if measured.gpu_busy else 0,
             "Feed it faster (threads, batch-size), or take a cheaper machine.")  # fmt: skip
    return rule.reports


class _Table:
    def __init__(self) -> None:
        self.reports: list[RuleReport] = []

    def add(
        self, name: str, checks: str, threshold: float, value: float, points: int, cure: str, *, times: int = 1
    ) -> None:
        """A rule that fires when `value` is above its threshold and there was anything to look at.

        `times` is the number of data points on which it fires, where it is known.
        """
        fired = points > 0 and value > threshold
        seen = f"{value:.3g}" if points else "no data points (no GPU, no window, or nothing to decode)"
        self.reports.append(RuleReport(name, f"{checks} (now {seen})", threshold, "warn", points, times if fired else 0,
                                       f"{value:.3g}" if fired else "", cure))  # fmt: skip


def profile_json(measured: MeasuredTimes, operators: list[dict[str, Any]]) -> dict[str, Any]:
    """The profile as plain values, with the distribution of the steps instead of every one."""
    totals = sorted(step.total for step in measured.steps)
    quantiles = {f"p{q}": totals[min(len(totals) - 1, len(totals) * q // 100)] for q in (50, 90, 99)} if totals else {}
    values = {name: value for name, value in asdict(measured).items() if name != "steps"}
    return {
        **values, "steps": len(totals), "step_seconds": quantiles, "operators": operators,
        "waited_seconds": sum(step.waited for step in measured.steps),
        "rules": [asdict(report) for report in profile_rules(measured)],
    }  # fmt: skip


def _process_start() -> float:
    """When this process started, on the monotonic clock (Linux)."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK") + time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)
