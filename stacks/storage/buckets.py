"""The buckets: what lies under which prefix, and for how long."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from stacks.shared.stack import BinventoryStack

CAPTURE_PREFIX = "capture"
EXECUTIONS_PREFIX = "executions"
CHECKPOINTS_PREFIX = "checkpoints"
BATCH_PREFIX = "batch"
ASYNC_PREFIX = "async"
ENDPOINT_PREFIX = "endpoint"
"""State of the function `reconcile`, such as requests and decisions."""
DATA_BUCKET, MODEL_BUCKET = "DataBucket", "ModelBucket"
"""Construct ids of the buckets; CloudFormation puts them into the buckets' names, in small letters."""
# The command line deletes answers of transform jobs after reading them. This deletes those of interrupted runs.
_BATCH_DAYS = 14


def log_bucket(stack: BinventoryStack) -> s3.Bucket:
    """Access logs of the other buckets."""
    days = stack.settings.storage.logs_expire_days
    return private_bucket(
        stack,
        "LogBucket",
        versioned=False,
        logs_to=None,
        rules=[s3.LifecycleRule(id="expire-logs", expiration=Duration.days(days))],
    )


def data_bucket(stack: BinventoryStack, logs_to: s3.Bucket) -> s3.Bucket:
    """Shards, features, checkpoints, answers of jobs, captured requests."""
    storage = stack.settings.storage
    expirations = {
        EXECUTIONS_PREFIX: storage.executions_expire_days,
        CHECKPOINTS_PREFIX: storage.checkpoints_expire_days,
        BATCH_PREFIX: _BATCH_DAYS,
        ASYNC_PREFIX: stack.settings.serving.asynchronous.expire_days,
        CAPTURE_PREFIX: stack.settings.serving.data_capture_expire_days,
    }
    # Not versioned: all of it is computed from photos in another bucket, and can be computed again.
    return private_bucket(
        stack,
        DATA_BUCKET,
        versioned=False,
        logs_to=logs_to,
        rules=[
            s3.LifecycleRule(id=f"expire-{prefix}", prefix=f"{prefix}/", expiration=Duration.days(days))
            for prefix, days in expirations.items()
        ],
    )


def model_bucket(stack: BinventoryStack, logs_to: s3.Bucket) -> s3.Bucket:
    """Trained models, evaluations and serving archives."""
    storage = stack.settings.storage
    # Versioned: a registered model must be the one that was evaluated, and an overwritten one must be recoverable.
    return private_bucket(
        stack,
        MODEL_BUCKET,
        versioned=True,
        logs_to=logs_to,
        rules=[
            s3.LifecycleRule(
                id="cheaper-storage",
                transitions=[
                    s3.Transition(
                        storage_class=s3.StorageClass.INFREQUENT_ACCESS,
                        transition_after=Duration.days(storage.models_infrequent_access_days),
                    )
                ],
            ),
            s3.LifecycleRule(
                id="expire-previous-versions",
                noncurrent_version_expiration=Duration.days(storage.previous_versions_expire_days),
                expired_object_delete_marker=True,
            ),
        ],
    )


def private_bucket(
    stack: BinventoryStack,
    construct_id: str,
    *,
    versioned: bool,
    logs_to: s3.Bucket | None,
    rules: list[s3.LifecycleRule],
) -> s3.Bucket:
    # S3 delivers access logs only to buckets with S3-managed keys.
    key = stack.keys.data if stack.keys and logs_to else None
    bucket = s3.Bucket(
        stack,
        construct_id,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=versioned,
        server_access_logs_bucket=logs_to,
        server_access_logs_prefix=f"{construct_id}/" if logs_to else None,
        lifecycle_rules=[
            s3.LifecycleRule(id="abort-incomplete-uploads", abort_incomplete_multipart_upload_after=Duration.days(7)),
            *rules,
        ],
        removal_policy=stack.removal_policy,
    )
    # Denies other accounts whatever other policies allow. AWS services may still deliver.
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            sid="OtherAccounts",
            effect=iam.Effect.DENY,
            actions=["s3:*"],
            resources=[bucket.bucket_arn, bucket.arn_for_objects("*")],
            principals=[iam.AnyPrincipal()],
            conditions={
                "StringNotEquals": {"aws:PrincipalAccount": stack.account},
                "Bool": {"aws:PrincipalIsAWSService": "false"},
            },
        )
    )
    # The policy stays as long as its bucket: without it a kept one would take plain HTTP, and lose its access logs.
    assert bucket.policy is not None
    bucket.policy.apply_removal_policy(stack.removal_policy)
    return bucket
