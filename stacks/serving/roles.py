"""The roles of the endpoint's container and of transform jobs.

The training stack holds them. So the serving stack, which a function updates, has no IAM resources, and the function's
rights refuse every template that has some (`permissions.change_stack`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.names import endpoint_log_group
from stacks.serving.asynchronous import AsyncEndpoint
from stacks.shared import permissions
from stacks.shared.job_network import JobNetwork
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import BATCH_PREFIX, CAPTURE_PREFIX, EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack


class ServingRoles(Construct):
    """`endpoint` loads the model and serves it; `batch` counts the photos of a prefix in transform jobs."""

    def __init__(
        self,
        stack: BinventoryStack,
        construct_id: str,
        *,
        storage: StorageStack,
        alerts: sns.ITopic,
        images: ecr.IRepository,
        network: JobNetwork | None = None,
    ) -> None:
        super().__init__(stack, construct_id)
        self._stack = stack
        self._settings = stack.settings
        self._storage = storage
        self._images = images
        self._network = network
        self.endpoint = self._role("Endpoint", "loads the model and serves it", self._serve(alerts))
        self.batch = self._role("Batch", "counts the photos of a prefix in transform jobs", self._transform())

    def _role(self, name: str, purpose: str, statements: Iterable[iam.PolicyStatement]) -> iam.Role:
        return permissions.sagemaker_role(
            self, name, prefix=self._settings.prefix, purpose=purpose, statements=statements
        )

    def _serve(self, alerts: sns.ITopic) -> Iterator[iam.PolicyStatement]:
        serving, storage = self._settings.serving, self._storage
        yield from self._run_models()
        yield from permissions.write_logs(self._stack, endpoint_log_group(self._settings.prefix))
        yield permissions.put_metrics("/aws/sagemaker/Endpoints", "AWS/SageMaker")
        if serving.data_capture_percent:
            yield allow(["s3:PutObject"], [storage.data_bucket.arn_for_objects(f"{CAPTURE_PREFIX}/*")])
        if serving.mode != "serverless":
            # SageMaker reads the alarms that roll back a rollout as the "execution role" (AWS documentation:
            # Auto-Rollback Configuration and Monitoring), which may be this one or that of the caller. It has both.
            yield allow(["cloudwatch:DescribeAlarms"], [permissions.alarm_arn(self._stack, "*")])
        if serving.mode == "async":
            yield from AsyncEndpoint(serving, storage, alerts).statements()

    def _transform(self) -> Iterator[iam.PolicyStatement]:
        prefixes: dict[str, list[str]] = defaultdict(list)
        for uri in self._settings.batch.readable(self._settings.data.photos_uri):
            bucket, prefix = permissions.bucket_arn_and_key(uri)
            prefixes[bucket].append(prefix.rstrip("/"))
        for bucket, found in prefixes.items():
            whole = "" in found  # the whole bucket includes the other prefixes
            yield from permissions.read_objects(bucket, *([] if whole else found))
        yield from self._run_models()
        # Manifests are read from the prefix that answers are written to.
        yield from permissions.read_and_write_objects(self._storage.data_bucket.bucket_arn, BATCH_PREFIX)
        yield from permissions.write_job_logs(self._stack, "TransformJobs")

    def _run_models(self) -> Iterator[iam.PolicyStatement]:
        """Start the serving image with a model of the pipeline."""
        storage = self._storage
        yield from permissions.read_objects(storage.model_bucket.bucket_arn, EXECUTIONS_PREFIX)
        yield from permissions.pull_images(self._images.repository_arn)
        yield from permissions.join_network(self._stack, self._network)
        yield from permissions.use_key(storage.keys.data.key_arn if storage.keys else None)
