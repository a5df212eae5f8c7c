"""Processing jobs: CreateProcessingJob and the other operations, and how a job runs on its machines."""

from __future__ import annotations

import queue
import time
from functools import partial
from pathlib import Path

from local_aws.core.authorisation import job_problem, may_publish
from local_aws.core.context import Context
from local_aws.core.disks import disk_gb
from local_aws.core.host import free_port
from local_aws.core.logs import LogStream
from local_aws.core.protocol import Document
from local_aws.images.container import Container, ContainerSpec, end_containers, rebase, rebase_inside
from local_aws.images.filesystem import shell_problem
from local_aws.images.pytorch import image_problem
from local_aws.jobs.channels import DataError, DataSource
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.job_run import JobRun
from local_aws.jobs.machine import NETWORK_INTERFACE, JobMachine
from local_aws.jobs.requests import check_processing
from local_aws.jobs.running import Jobs, stop_grace
from local_aws.jobs.usage import UsageSampler, Watched

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
_STOPPED = "Stopped"
_SHUT_DOWN = "the local AWS stops"
_MAX_TEXT = 1024
_DEFAULT_STOPPING_CONDITION = {"MaxRuntimeInSeconds": 86_400}


class ProcessingRun(JobRun):
    """Runs a processing job on its machines."""

    KIND = "Processing"

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, name)
        self._jobs = context.shared(Jobs)
        self._messages: queue.Queue[str | int] = queue.Queue()
        self._containers: list[Container] = []
        self._streams: list[LogStream] = []
        self._publishes = True

    def stop(self) -> None:
        """StopProcessingJob: SIGTERM, two minutes, SIGKILL."""
        if self._begin_stopping():
            self._messages.put(_STOPPED)
            self._cancelled.set()

    def shut_down(self) -> None:
        """Kill the job at once; its stored status stays InProgress."""
        self._messages.put(_SHUT_DOWN)
        self._cancelled.set()

    def _work(self, job: Document) -> Document:
        image = job["AppSpecification"]["ImageUri"]
        problem = image_problem(image) or job_problem(self._context, image, job)
        if problem:
            return self._failed(problem)
        self._publishes = may_publish(self._context, LOG_GROUP)
        with self._context.cpu.places(self._context.cpu.total, cancelled=self._cancelled):
            return self._cancelled_end() if self._cancelled.is_set() else self._on_machines(job)

    def _cancelled_end(self) -> Document:
        """The end of a job whose processes have not started yet."""
        return self._status(_STOPPED) if self._messages.get() == _STOPPED else {}

    def _on_machines(self, job: Document) -> Document:
        count = job["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
        machines = [JobMachine.make(self._folder, index) for index in range(count)]
        self._record.change(ProcessingStartTime=self._context.now())
        try:
            for machine in machines:
                self._prepare(job, machine, machines)
        except DataError as error:
            return self._failed(str(error))
        if self._cancelled.is_set():
            return self._cancelled_end()
        usage: UsageSampler | None = None
        try:
            self._start(job, machines)
            usage = self._sampler(job, machines)
            changes = self._watch(job, machines)
        finally:
            if usage is not None:
                usage.stop()
            end_containers(self._containers, 0.0)
            for stream in self._streams:
                stream.close()
        if changes.get("ProcessingJobStatus") == "Completed":
            self._upload(job, machines)
        return changes

    def _prepare(self, job: Document, machine: JobMachine, machines: list[JobMachine]) -> None:
        (machine.root / "processing").mkdir()
        (machine.root / "output").mkdir()
        names = [other.name for other in machines]
        cluster = job["ProcessingResources"]["ClusterConfig"]
        machine.write_config(
            "config/resourceconfig.json",
            {
                "current_host": machine.name,
                "current_instance_type": cluster["InstanceType"],
                "current_group_name": "homogeneousCluster",
                "hosts": names,
                "instance_groups": [
                    {
                        "instance_group_name": "homogeneousCluster",
                        "instance_type": cluster["InstanceType"],
                        "hosts": names,
                    }
                ],
                "network_interface_name": NETWORK_INTERFACE,
            },
        )
        machine.write_config("config/processingjobconfig.json", _job_config(job))
        for item in job.get("ProcessingInputs", []):
            source = item["S3Input"]
            self._jobs.downloader.using(self._context.client("s3")).fetch(
                DataSource(
                    source["S3Uri"], source["S3DataType"], source.get("S3DataDistributionType") == "ShardedByS3Key"
                ),
                Path(rebase(source["LocalPath"], machine.root)),
                role=job["RoleArn"],
                machine=machine.index,
                machines=len(machines),
            )
        for output in _outputs(job):
            Path(rebase(output["LocalPath"], machine.root)).mkdir(parents=True, exist_ok=True)
        if problem := shell_problem(machine.root):
            raise DataError(problem)

    def _start(self, job: Document, machines: list[JobMachine]) -> None:
        threads = max(1, self._context.cpu.total // len(machines))
        port = free_port()
        for machine in machines:
            name = f"{self._name}/{machine.name}-{int(time.time())}"
            stream = LogStream(self._context.client("logs"), LOG_GROUP, name)
            self._streams.append(stream)
            container = Container.start(self._spec(job, machine, threads, port), stream.write)
            self._containers.append(container)
            self._context.start_thread(f"wait/{machine.name}", partial(self._await, container))

    def _sampler(self, job: Document, machines: list[JobMachine]) -> UsageSampler:
        disk = disk_gb(job["ProcessingResources"]["ClusterConfig"])
        watched = [
            Watched(f"{self._name}/{machine.name}", container.process.pid, machine.root, disk)
            for machine, container in zip(machines, self._containers, strict=True)
        ]
        sampler = UsageSampler(self._context.metrics, LOG_GROUP, watched)
        if self._publishes:
            sampler.start(self._context.start_thread)
        return sampler

    def _await(self, container: Container) -> None:
        status = container.wait()
        self._messages.put(status if status is not None else -1)

    def _spec(self, job: Document, machine: JobMachine, threads: int, port: int) -> ContainerSpec:
        application = job["AppSpecification"]
        given = {name: rebase_inside(text, machine.root) for name, text in job.get("Environment", {}).items()}
        variables = {
            **self._context.environment(),
            "PROCESSING_JOB_ARN": job["ProcessingJobArn"],
            "PROCESSING_JOB_NAME": self._name,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            **given,
        }
        words = [*application.get("ContainerEntrypoint", []), *application.get("ContainerArguments", [])]
        command = [rebase_inside(word, machine.root) for word in words]
        return ContainerSpec(command, machine.environment(variables, threads), machine.root, machine.root)

    def _watch(self, job: Document, machines: list[JobMachine]) -> Document:
        """Wait until every machine has ended, one has failed, the time limit is reached or the job is stopped."""
        waiting = len(machines)
        limit = time.monotonic() + job["StoppingCondition"]["MaxRuntimeInSeconds"]
        while waiting:
            try:
                message = self._messages.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                end_containers(self._containers, stop_grace())
                reason = "ClientError: Processing job runtime exceeded MaxRuntimeInSeconds provided"
                return self._failed(reason) | self._status(_STOPPED)
            if isinstance(message, str):
                end_containers(self._containers, stop_grace() if message == _STOPPED else 0.0)
                return self._status(_STOPPED) if message == _STOPPED else {}
            if message != 0:
                end_containers(self._containers, 0.0)
                reason = f"AlgorithmError: See job logs for more information, exit code: {message}"
                return self._failed(reason) | _exit_message(machines)
            waiting -= 1
        return self._status("Completed") | _exit_message(machines)

    def _upload(self, job: Document, machines: list[JobMachine]) -> None:
        key = job.get("ProcessingOutputConfig", {}).get("KmsKeyId")
        for output in _outputs(job):
            for machine in machines:
                folder = Path(rebase(output["LocalPath"], machine.root))
                if folder.is_dir():
                    self._context.objects.upload_tree(folder, output["S3Uri"], key)


def _exit_message(machines: list[JobMachine]) -> Document:
    """The job's ExitMessage: what its machines have written, one after the other, and cut, as on AWS."""
    text = "".join(machine.read_text("output/message", _MAX_TEXT) for machine in machines)[:_MAX_TEXT]
    return {"ExitMessage": text} if text else {}


def _outputs(job: Document) -> list[Document]:
    outputs = job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return [output["S3Output"] for output in outputs if "S3Output" in output]


def _job_config(job: Document) -> Document:
    shown = (
        "ProcessingJobArn",
        "ProcessingJobName",
        "AppSpecification",
        "Environment",
        "ProcessingInputs",
        "ProcessingOutputConfig",
        "ProcessingResources",
        "RoleArn",
        "StoppingCondition",
    )
    return {key: job[key] for key in shown if key in job}


PROCESSING_JOBS = JobKind(
    "ProcessingJob",
    "processing job",
    check_processing,
    lambda context, request: {"StoppingCondition": request.get("StoppingCondition", _DEFAULT_STOPPING_CONDITION)},
    ProcessingRun,
)
