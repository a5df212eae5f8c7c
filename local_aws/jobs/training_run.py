"""How a training job runs: its attempts on machines, its limits and its interruptions."""

from __future__ import annotations

import enum
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.authorisation import job_problem, may_publish
from local_aws.core.context import Context
from local_aws.core.disks import disk_gb
from local_aws.core.host import free_port
from local_aws.core.logs import LogStream
from local_aws.core.protocol import Document
from local_aws.images.container import Container, end_containers, rebase
from local_aws.images.filesystem import shell_problem
from local_aws.images.pytorch import image_problem
from local_aws.jobs import debugger, training_files
from local_aws.jobs.artifacts import upload_output
from local_aws.jobs.channels import DataError
from local_aws.jobs.checkpoints import CheckpointSync
from local_aws.jobs.machine import JobMachine
from local_aws.jobs.records import TrainingRecord
from local_aws.jobs.running import Jobs, stop_grace
from local_aws.jobs.training_failure import MAX_REASON, training_failure
from local_aws.jobs.training_metrics import MetricReader
from local_aws.jobs.usage import UsageSampler, Watched

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
# Of on demand; the share that the estimate of costs expects. AWS's follows the market.
_SPOT_SHARE = 0.5


class Ending(enum.Enum):
    """How an attempt on a set of machines ended."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    RECLAIMED = "Interrupted"
    TOO_LONG = "MaxRuntimeExceeded"
    WAITED_TOO_LONG = "MaxWaitTimeExceeded"
    SHUT_DOWN = "the local AWS stops"


_LEAVES_A_MODEL = frozenset({Ending.COMPLETED, Ending.STOPPED, Ending.TOO_LONG, Ending.WAITED_TOO_LONG})


class _Exit(NamedTuple):
    """The end of one machine's process."""

    container: Container
    machine: int
    status: int


@dataclass
class _Attempt:
    """The machines of one attempt, and what observes them."""

    machines: list[JobMachine]
    containers: list[Container] = field(default_factory=list)
    checkpoints: list[CheckpointSync] = field(default_factory=list)
    streams: list[LogStream] = field(default_factory=list)
    usage: UsageSampler | None = None

    def finish(self, grace: float) -> None:
        """End every process: SIGTERM, `grace` seconds, SIGKILL. Returns when none is left."""
        end_containers(self.containers, grace)

    def release(self) -> None:
        """End what still runs, and upload the last checkpoints and log lines."""
        if self.usage is not None:
            self.usage.stop()
        self.finish(0.0)
        for sync in self.checkpoints:
            sync.finish()
        for stream in self.streams:
            stream.close()


class TrainingRun:
    """Runs the stored training job `name`.

    Args:
        context: the local AWS.
        name: the training job.
        threads: processors that the job may use; all when None.
        resumed: the job ran when the local AWS last stopped.
    """

    def __init__(self, context: Context, name: str, *, threads: int | None = None, resumed: bool = False) -> None:
        self._context = context
        self._jobs = context.shared(Jobs)
        self._record = TrainingRecord(context, name)
        self._threads = threads or context.cpu.total
        self._resumed = resumed
        self._folder = context.work_dir / "jobs" / "training" / name
        self._messages: queue.Queue[Ending | _Exit] = queue.Queue()
        self._cancelled = threading.Event()
        self._training = threading.Event()
        job = self._record.read()
        self._metrics = MetricReader(job["AlgorithmSpecification"].get("MetricDefinitions", []), context.metrics, name)
        self._trained_seconds = 0.0
        self._made = time.monotonic()
        self._seconds_in_line = 0.0

    def run(self) -> None:
        """Run the job to its end, over any number of interruptions."""
        if self._resumed:
            spot = self._record.read().get("EnableManagedSpotTraining", False)
            self._record.move("Interrupted" if spot else "Restarting", message="The local AWS was restarted")
            self._record.move("Starting")
        ending, reason = Ending.RECLAIMED, ""
        try:
            while ending is Ending.RECLAIMED:
                ending, reason = self._attempt()
                if ending is Ending.RECLAIMED:
                    self._record.move("Interrupted")
                    self._record.move("Starting")
                    if self.begins_anew:
                        self._metrics.begin_anew()
        except Exception as error:
            ending, reason = Ending.FAILED, f"InternalServerError: {error!r}"
            raise
        finally:
            if ending is not Ending.SHUT_DOWN and not self._context.stopping.is_set():
                self._conclude(ending, reason)
                shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """StopTrainingJob: SIGTERM, after two minutes SIGKILL."""
        if self._record.move("Stopping", only_from="InProgress"):
            self._request_end(Ending.STOPPED)

    def shut_down(self) -> None:
        """Kill the job at once; its stored status stays InProgress."""
        self._request_end(Ending.SHUT_DOWN)

    @property
    def begins_anew(self) -> bool:
        """Whether an interruption takes everything from the job, because it has no checkpoints."""
        return "CheckpointConfig" not in self._record.read()

    def listen(self, metric: str, listener: Callable[[float], None], anew: Callable[[], None]) -> None:
        """Call `listener` with every value of a metric that the job prints, and `anew` before it begins anew."""
        self._metrics.listen(metric, listener, anew)

    def reclaim(self) -> bool:
        """Interrupt the job's spot capacity; returns False when it has none or is not training now."""
        if not self._record.read().get("EnableManagedSpotTraining") or not self._training.is_set():
            return False
        self._training.clear()  # a second request finds no machines until the next attempt has some
        self._messages.put(Ending.RECLAIMED)
        return True

    def _request_end(self, how: Ending) -> None:
        self._messages.put(how)
        self._cancelled.set()

    def _attempt(self) -> tuple[Ending, str]:
        job = self._record.read()
        image = job["AlgorithmSpecification"].get("TrainingImage", "")
        problem = image_problem(image) or job_problem(self._context, image, job)
        if problem:
            return Ending.FAILED, problem
        if not may_publish(self._context, MetricReader.NAMESPACE):
            self._metrics.publishes = False
        asked = time.monotonic()
        with self._context.cpu.places(self._threads, cancelled=self._cancelled):
            self._seconds_in_line += time.monotonic() - asked
            if self._cancelled.is_set():
                return self._first_ending(), ""
            return self._on_machines(job)

    def _first_ending(self) -> Ending:
        """Which of the two requests to end came first; what an earlier attempt has left in the line is over."""
        while (message := self._messages.get()) not in (Ending.STOPPED, Ending.SHUT_DOWN):
            pass
        return cast(Ending, message)

    def _on_machines(self, job: Document) -> tuple[Ending, str]:
        count = training_files.instance_count(job)
        attempt = _Attempt([JobMachine.make(self._folder, index) for index in range(count)])
        started = time.monotonic()
        self._record.move("Downloading", TrainingStartTime=job.get("TrainingStartTime", self._context.now()))
        try:
            self._prepare(job, attempt)
            if self._cancelled.is_set():
                return self._first_ending(), ""
            self._training.set()  # first: who reads that it trains may interrupt it at once
            self._record.move("Training")
            self._start(job, attempt)
            ending, reason = self._watch(job, attempt)
        except DataError as error:
            return Ending.FAILED, str(error)
        except (ClientError, BotoCoreError) as error:
            return Ending.FAILED, f"ClientError: {error}"
        finally:
            self._training.clear()
            attempt.release()
            self._trained_seconds += time.monotonic() - started
        if ending in _LEAVES_A_MODEL:
            self._record.move("Uploading")
            try:
                roots = [machine.root for machine in attempt.machines]
                upload_output(self._context.objects, job, roots, self._folder / "upload")
            except (ClientError, BotoCoreError, OSError) as error:
                return Ending.FAILED, f"ClientError: Artifact upload failed: {error}"
            if problem := next(filter(None, (sync.problem for sync in attempt.checkpoints)), ""):
                return Ending.FAILED, f"ClientError: Artifact upload failed: {problem}"
        return ending, reason

    def _prepare(self, job: Document, attempt: _Attempt) -> None:
        downloader = self._jobs.downloader.using(self._context.client("s3"))
        checkpoint = job.get("CheckpointConfig")
        for machine in attempt.machines:
            training_files.write_configuration(job, machine, attempt.machines)
            training_files.download_channels(job, machine, len(attempt.machines), downloader)
            if problem := shell_problem(machine.root):
                raise DataError(problem)
            if checkpoint:
                local = Path(rebase(checkpoint.get("LocalPath", "/opt/ml/checkpoints"), machine.root))
                sync = CheckpointSync(self._context.objects, downloader, checkpoint["S3Uri"], local)
                sync.restore()
                attempt.checkpoints.append(sync)

    def _start(self, job: Document, attempt: _Attempt) -> None:
        port = free_port()
        threads = max(1, self._threads // len(attempt.machines))
        for machine in attempt.machines:
            stream = LogStream(
                self._context.client("logs"), LOG_GROUP, f"{self._record.key}/{machine.name}-{int(time.time())}"
            )
            attempt.streams.append(stream)
            if line := debugger.unasked(job):
                stream.write(line)
            spec = training_files.container_spec(
                job, machine, threads=threads, master_port=port, environment=self._context.environment()
            )
            container = Container.start(spec, partial(self._read_line, stream))
            attempt.containers.append(container)
            self._context.start_thread(f"wait/{machine.name}", partial(self._await, container, machine.index))
        for sync, stream in zip(attempt.checkpoints, attempt.streams, strict=False):
            sync.start(stream.write)
        if self._metrics.publishes:
            attempt.usage = self._sampler(job, attempt)
            attempt.usage.start(self._context.start_thread)

    def _sampler(self, job: Document, attempt: _Attempt) -> UsageSampler:
        disk = disk_gb(job["ResourceConfig"])
        watched = [
            Watched(f"{self._record.key}/{machine.name}", container.process.pid, machine.root, disk)
            for machine, container in zip(attempt.machines, attempt.containers, strict=True)
        ]
        return UsageSampler(self._context.metrics, MetricReader.NAMESPACE, watched)

    def _read_line(self, stream: LogStream, line: str) -> None:
        stream.write(line)
        self._metrics.read(line)

    def _await(self, container: Container, index: int) -> None:
        status = container.wait()
        self._messages.put(_Exit(container, index, status if status is not None else -1))

    def _watch(self, job: Document, attempt: _Attempt) -> tuple[Ending, str]:
        """Wait until every machine has ended, one has failed, a limit is reached or the job is stopped."""
        waiting = len(attempt.containers)
        limit, over_limit = self._limit(job)
        while waiting:
            try:
                message = self._messages.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                self._record.move("Stopping")
                message = over_limit
            if isinstance(message, Ending):
                attempt.finish(_grace(job, message))
                return message, ""
            if message.container not in attempt.containers:
                continue  # the end of an earlier attempt's process
            if message.status != 0:
                attempt.finish(0.0)
                machine, stream = attempt.machines[message.machine], attempt.streams[message.machine]
                return Ending.FAILED, training_failure(machine, stream, message.status)
            waiting -= 1
        return Ending.COMPLETED, ""

    def _limit(self, job: Document) -> tuple[float, Ending]:
        """When this attempt must end, on the monotonic clock, and how it has then ended.

        MaxWaitTimeInSeconds is of waiting for capacity and running. There is always capacity here: neither the time in
        line for this computer's processors counts, nor the time for which the local AWS was stopped.
        """
        now = time.monotonic()
        condition = job["StoppingCondition"]
        runtime = now + condition.get("MaxRuntimeInSeconds", 86_400) - self._trained_seconds
        if "MaxWaitTimeInSeconds" not in condition:
            return runtime, Ending.TOO_LONG
        wait = self._made + self._seconds_in_line + condition["MaxWaitTimeInSeconds"]
        return (runtime, Ending.TOO_LONG) if runtime <= wait else (wait, Ending.WAITED_TOO_LONG)

    def _conclude(self, ending: Ending, reason: str) -> None:
        seconds = max(1, round(self._trained_seconds)) if self._trained_seconds else None
        self._record.move(
            ending.value,
            FailureReason=reason[:MAX_REASON] or None,
            FinalMetricDataList=self._metrics.final() or None,
            TrainingTimeInSeconds=seconds,
            BillableTimeInSeconds=billable_seconds(self._record.read(), seconds),
        )


def billable_seconds(job: Document, seconds: int | None) -> int | None:
    """BillableTimeInSeconds: on spot capacity fewer than TrainingTimeInSeconds."""
    if seconds is None or not job.get("EnableManagedSpotTraining"):
        return seconds
    return max(1, round(seconds * _SPOT_SHARE))


def _grace(job: Document, ending: Ending) -> float:
    """Seconds between SIGTERM and SIGKILL.

    AWS waits two minutes, but tells a script in script mode nothing, nor one whose spot instance is interrupted. Such a
    script would only work on, so it is killed at once.
    """
    in_script_mode = "ContainerEntrypoint" not in job["AlgorithmSpecification"]
    untold = in_script_mode or ending in (Ending.RECLAIMED, Ending.SHUT_DOWN)
    return 0.0 if untold else stop_grace()
