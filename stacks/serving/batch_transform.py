"""Batch transform: the role of the models, and the outputs that the command line reads. It costs nothing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from aws_cdk import Aws, CfnOutput, Fn, Stack
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.job_network import JobNetwork
from stacks.storage.buckets import BATCH_PREFIX, EXECUTIONS_PREFIX
from stacks.storage.stack import StorageStack


class BatchTransform(Construct):
    """The role of the models that `binventory count s3://...` and `binventory audit --batch` make, and its outputs.

    Outputs, which the command line reads: BatchRoleArn, BatchOutputUri, BatchInstanceType, BatchInstanceCount,
    BatchPhotosUris (separated by spaces).
    """

    def __init__(
        self,
        stack: Stack,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        images: ecr.IRepository,
        network: JobNetwork | None = None,
    ) -> None:
        super().__init__(stack, construct_id)
        self._network = network
        batch = settings.batch
        self._photos = batch.readable(settings.data.photos_uri)
        role = iam.Role(
            self,
            "Role",
            assumed_by=permissions.sagemaker_principal(stack),
            description=f"{settings.prefix}: counts the photos of a prefix in transform jobs",
        )
        iam.Policy(self, "Policy", roles=[role], statements=list(self._statements(stack, storage, images)))
        outputs = {
            "BatchRoleArn": role.role_arn,
            "BatchOutputUri": f"s3://{storage.data_bucket.bucket_name}/{BATCH_PREFIX}/",
            "BatchInstanceType": batch.instance_type,
            "BatchInstanceCount": str(batch.instance_count),
            "BatchPhotosUris": " ".join(self._photos),
        }
        if network is not None:
            outputs["BatchSubnetIds"] = Fn.join(" ", list(network.subnet_ids))
            outputs["BatchSecurityGroupIds"] = Fn.join(" ", list(network.security_group_ids))
        if storage.keys:
            outputs["BatchKeyArn"] = storage.keys.data.key_arn
        for name, value in outputs.items():
            CfnOutput(stack, name, value=value)

    def _statements(
        self, stack: Stack, storage: StorageStack, images: ecr.IRepository
    ) -> Iterator[iam.PolicyStatement]:
        prefixes: dict[str, list[str]] = defaultdict(list)
        for uri in self._photos:
            bucket, _, prefix = uri.removeprefix("s3://").partition("/")
            prefixes[bucket].append(prefix.rstrip("/"))
        for bucket, found in prefixes.items():
            whole = "" in found  # the whole bucket includes the other prefixes
            yield from permissions.read_objects(f"arn:{Aws.PARTITION}:s3:::{bucket}", *([] if whole else found))
        yield from permissions.read_objects(storage.model_bucket.bucket_arn, EXECUTIONS_PREFIX)
        # Manifests are read from the prefix that answers are written to.
        yield from permissions.read_and_write_objects(storage.data_bucket.bucket_arn, BATCH_PREFIX)
        yield from permissions.join_network(stack, self._network)
        yield from permissions.use_key(storage.keys.data.key_arn if storage.keys else None)
        yield from permissions.pull_images(images.repository_arn)
        yield from permissions.write_job_logs(stack, "TransformJobs")
