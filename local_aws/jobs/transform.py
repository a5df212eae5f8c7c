"""Transform jobs: CreateTransformJob and the other operations, and how a job runs on its model's servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from local_aws.core.context import Context
from local_aws.core.listing import NEWEST_FIRST
from local_aws.core.logs import LogStream
from local_aws.core.objects import S3Uri
from local_aws.core.protocol import Document
from local_aws.core.small_objects import SmallObjects
from local_aws.hosting.fleet import DeploymentFailed, Fleet, VariantPlan
from local_aws.hosting.instance import InstanceSpec
from local_aws.hosting.models import container_of, model_of
from local_aws.jobs.channels import DataError, DataSource, ObjectName
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.job_run import JobRun
from local_aws.jobs.records import JobRecord
from local_aws.jobs.requests import check_transform
from local_aws.jobs.running import Jobs
from local_aws.jobs.transform_io import TransformLimits
from local_aws.jobs.transformer import Transformer, TransformStopped

LOG_GROUP = "/aws/sagemaker/TransformJobs"
_STARTUP_SECONDS = 480.0


@dataclass(frozen=True)
class TransformSpec(InstanceSpec):
    """An instance of a transform job; `endpoint` is the job's name."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Transform jobs publish in one namespace only."""
        return (LOG_GROUP,)

    @property
    def log_group(self) -> str:
        """The log group of all transform jobs."""
        return LOG_GROUP

    @property
    def described(self) -> str:
        """The job's name in messages."""
        return f"transform job {self.endpoint}"

    @property
    def folder(self) -> Path:
        """Folder of the job, relative to the state directory."""
        return Path("jobs") / "transform" / self.endpoint

    def log_stream(self, instance: str) -> str:
        """The log stream of one instance."""
        return f"{self.endpoint}/{instance}"


class TransformRun(JobRun):
    """Runs a transform job on its model's servers."""

    KIND = "Transform"
    HIDDEN = frozenset({"Container", "ModelPackage", "RoleArn"})

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, name)
        self._shut_down = False
        self._written: list[S3Uri] = []

    def stop(self) -> None:
        """StopTransformJob: end all requests and remove the output that was written."""
        if self._begin_stopping():
            self._cancelled.set()

    def shut_down(self) -> None:
        """End at once; the stored status stays InProgress."""
        self._shut_down = True
        self._cancelled.set()

    def _work(self, job: Document) -> Document:
        with self._context.cpu.places(self._context.cpu.total, cancelled=self._cancelled):
            if not self._cancelled.is_set():
                try:
                    return self._on_instances(job)
                except (DataError, DeploymentFailed) as error:
                    blame = "" if isinstance(error, DataError) else "AlgorithmError: "
                    if not self._cancelled.is_set():
                        return self._failed(f"{blame}{error}")
                except TransformStopped:
                    pass
        if self._shut_down:
            return {}
        self._remove_output()
        return self._status("Stopped")

    def _on_instances(self, job: Document) -> Document:
        self._record.change(TransformStartTime=self._context.now())
        objects = _at_least_one(self._objects(job), job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        plan = VariantPlan(_spec(job), job["TransformResources"]["InstanceCount"], 1.0)
        fleet = Fleet(self._context, plan)
        log = LogStream(self._context.client("logs"), LOG_GROUP, f"{self._name}/data-log")
        try:
            self._start(fleet)
            s3 = SmallObjects(self._context, job["TransformOutput"].get("KmsKeyId", ""))
            transformer = Transformer(s3, job, fleet, TransformLimits.of(job, fleet), self._cancelled)
            self._written = transformer.written
            transformer.transform_all(objects, self._folder / "output", log.write)
        finally:
            fleet.stop(drain=False)
            log.close()
        if not transformer.failed:
            return self._status("Completed")
        first = transformer.first_failure
        reason = f"{first.blame}: See job logs for more information. {transformer.failed} failed, first {first}"
        return self._failed(reason)

    def _start(self, fleet: Fleet) -> None:
        """Start the servers; a stop during the start ends them."""
        started = threading.Event()

        def watch() -> None:
            while not started.wait(0.1):
                if self._cancelled.is_set():
                    fleet.stop(drain=False)
                    return

        self._context.start_thread(f"watch start of {self._name}", watch)
        try:
            fleet.start()
        finally:
            started.set()
        if self._cancelled.is_set():
            raise TransformStopped

    def _objects(self, job: Document) -> Iterator[ObjectName]:
        source = job["TransformInput"]["DataSource"]["S3DataSource"]
        downloader = self._context.shared(Jobs).downloader.using(self._context.client("s3"))
        return downloader.names(DataSource(source["S3Uri"], source["S3DataType"]))

    def _remove_output(self) -> None:
        """Remove a stopped job's output, as the service itself: the role needs no permission to delete."""
        with self._context.acting(None):
            client = self._context.client("s3")
            for uri in self._written:
                client.delete_object(Bucket=uri.bucket, Key=uri.key)


def _spec(job: Document) -> TransformSpec:
    container = job["Container"]
    given = {
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": job.get("MaxPayloadInMB"),
        "SAGEMAKER_BATCH_STRATEGY": {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}.get(
            job.get("BatchStrategy", "")
        ),
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": job.get("MaxConcurrentTransforms"),
    }
    environment = container.get("Environment", {}) | {"SAGEMAKER_BATCH": "true"}
    environment |= {name: str(value) for name, value in given.items() if value}
    return TransformSpec(
        endpoint=job["TransformJobName"],
        variant="transform",
        container=container | {"Environment": environment | job.get("Environment", {})},
        model_package=job.get("ModelPackage"),
        startup_seconds=_STARTUP_SECONDS,
        role=job.get("RoleArn"),
    )


def _at_least_one(objects: Iterator[ObjectName], uri: str) -> Iterator[ObjectName]:
    first = next(objects, None)
    if first is None:
        raise DataError(f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}"')
    return chain([first], objects)


def _members(context: Context, request: Document) -> Document:
    """What the job needs of its model, resolved now, so that a later deletion does not matter."""
    model = model_of(context, request["ModelName"])
    container, package = container_of(context, model)
    return {"Container": container, "ModelPackage": package, "RoleArn": model.get("ExecutionRoleArn")}


def _record(context: Context, name: str) -> JobRecord:
    return JobRecord(context, "TransformJob", name, TransformRun.HIDDEN)


TRANSFORM_JOBS = JobKind(
    "TransformJob", "transform job", check_transform, _members, TransformRun, record=_record, usual=NEWEST_FIRST
)
