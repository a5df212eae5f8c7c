"""Batch transform: the outputs that the command line reads. It costs nothing itself."""

from __future__ import annotations

from aws_cdk import CfnOutput, Fn
from aws_cdk import aws_iam as iam

from stacks.names import in_one_line
from stacks.shared.job_network import JobNetwork
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import BATCH_PREFIX
from stacks.storage.stack import StorageStack


def batch_outputs(
    stack: BinventoryStack, *, role: iam.IRole, storage: StorageStack, network: JobNetwork | None
) -> None:
    """Outputs, from which `binventory count s3://...` and `binventory audit --batch` make models and transform jobs.

    They are BatchRoleArn, BatchOutputUri, BatchInstanceType, BatchInstanceCount and BatchPhotosUris (separated by
    spaces).
    """
    batch = stack.settings.batch
    outputs = {
        "BatchRoleArn": role.role_arn,
        "BatchOutputUri": f"s3://{storage.data_bucket.bucket_name}/{BATCH_PREFIX}/",
        "BatchInstanceType": batch.instance_type,
        "BatchInstanceCount": str(batch.instance_count),
        "BatchPhotosUris": in_one_line(batch.readable(stack.settings.data.photos_uri)),
    }
    if network is not None:
        outputs["BatchSubnetIds"] = Fn.join(" ", list(network.subnet_ids))
        outputs["BatchSecurityGroupIds"] = Fn.join(" ", list(network.security_group_ids))
    if storage.keys:
        outputs["BatchKeyArn"] = storage.keys.data.key_arn
    for name, value in outputs.items():
        CfnOutput(stack, name, value=value)
