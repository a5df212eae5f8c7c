"""The Lambda function of the steps Fingerprint and Seal: it lists what is read and records the shards that are made."""

from __future__ import annotations

from collections.abc import Iterator

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.environments import FingerprintEnvironment
from stacks.names import SHARD_LIST
from stacks.settings import Settings
from stacks.shared import permissions
from stacks.shared.functions import FunctionProperties, PythonFunction
from stacks.shared.permissions import allow
from stacks.shared.stack import BinventoryStack
from stacks.storage.buckets import EXECUTIONS_PREFIX

LISTINGS = f"{EXECUTIONS_PREFIX}/listings"
"""Prefix of the listings in the data bucket: they expire with the shards that were made from them."""
SEALS = f"{EXECUTIONS_PREFIX}/seals"
"""Prefix of what Seal has recorded of shards. No job may write there."""
# With this much memory Lambda gives one full vCPU. The listing uses one.
_MEMORY_MB = 1769
# A Lambda step waits ten minutes, but SageMaker has lost answers that came after seven.
_TIMEOUT = Duration.minutes(5)


class Fingerprint(Construct):
    """The function and its role.

    The role lists the prefixes that settings name, reads the lists of shards, and writes listings and seals.
    """

    def __init__(self, scope: BinventoryStack, construct_id: str, *, data_bucket: s3.IBucket) -> None:
        super().__init__(scope, construct_id)
        settings = scope.settings
        bucket = f"s3://{data_bucket.bucket_name}"
        listings, seals = (data_bucket.arn_for_objects(f"{prefix}/*") for prefix in (LISTINGS, SEALS))
        lists = data_bucket.arn_for_objects(f"{EXECUTIONS_PREFIX}/*/ingest/*/{SHARD_LIST}")
        self.function = PythonFunction(
            self,
            "List",
            stack=scope,
            of=FunctionProperties(
                name=f"{settings.prefix}-fingerprint",
                purpose="lists what an execution of the pipeline reads, and records the shards that it makes",
                handler="fingerprint.handler",
                timeout=_TIMEOUT,
                memory_mb=_MEMORY_MB,
                statements=[
                    *_list(settings),
                    allow(["s3:PutObject"], [listings, seals]),
                    allow(["s3:GetObject"], [lists, seals]),
                ],
                environment=FingerprintEnvironment(listings=f"{bucket}/{LISTINGS}", seals=f"{bucket}/{SEALS}"),
            ),
        ).function


def _list(settings: Settings) -> Iterator[iam.PolicyStatement]:
    """List the prefix of the photos, and labels and weights where they are in S3."""
    bucket, prefix = permissions.bucket_arn_and_key(settings.data.photos_uri)
    yield permissions.list_objects(bucket, *([prefix.rstrip("/")] if prefix else []))
    for uri in (settings.data.labels_uri, settings.training.weights):
        if uri.startswith("s3://"):
            bucket, key = permissions.bucket_arn_and_key(uri)
            yield allow(["s3:ListBucket"], [bucket], {"StringLike": {"s3:prefix": [f"{key}*"]}})
