"""Buckets speak TLS only and nothing public."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, Resource, as_list
from stacks.policies.rule import Finding, Rule

_BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


def _find(assembly: Assembly) -> Iterator[Finding]:
    closed = {
        (policy.template.stack, policy.properties["Bucket"].get("Ref"))
        for policy in assembly.of_type("AWS::S3::BucketPolicy")
        if isinstance(policy.properties["Bucket"], dict) and _denies_plain_http(policy)
    }
    for bucket in assembly.of_type("AWS::S3::Bucket"):
        if (bucket.template.stack, bucket.logical_id) not in closed:
            yield Finding(bucket, "bucket policy", "without a Deny on aws:SecureTransport = false")
        block = bucket.properties.get("PublicAccessBlockConfiguration", {})
        if missing := [name for name in _BLOCKS if block.get(name) is not True]:
            yield Finding(bucket, "PublicAccessBlockConfiguration", f"without {', '.join(missing)}")


def _denies_plain_http(policy: Resource) -> bool:
    return any(
        statement["Effect"] == "Deny"
        and str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
        for statement in as_list(policy.properties["PolicyDocument"]["Statement"])
    )


RULE = Rule(
    id="BV-PrivateBuckets",
    why="Photos and models can be read on the way, or by anyone.",
    fix="Make buckets with StorageStack._bucket, or set enforce_ssl and block_public_access.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/s3-controls.html#s3-5",
    find=_find,
)
