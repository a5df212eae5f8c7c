"""Properties of a stack's buckets that ministack drops: encryption, lifecycle, access logging, the end of versioning.

Uses these internals of version 1.5.33: `services.cloudformation.provisioners._S3_BUCKET_CONFIGURATIONS` (property, what
makes its XML, what stores that, what removes it), and in `services.s3` `_buckets`,
`_put_bucket_encryption`, `_delete_bucket_encryption`, `_put_bucket_lifecycle`, `_delete_bucket_lifecycle`,
`_put_bucket_logging`, `_put_bucket_versioning` and `_delete_bucket`. tests/contract/test_hooks.py fails for one that
moved when ministack is upgraded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from botocore.serialize import create_serializer

from local_aws.ministack.stack_resources import Properties, around

ReadModel = Callable[[str], Any]
_ONLY_ON_AWS: Final = (
    "AbacStatus",
    "AccelerateConfiguration",
    "AnalyticsConfigurations",
    "IntelligentTieringConfigurations",
    "InventoryConfigurations",
    "MetadataConfiguration",
    "MetadataTableConfiguration",
    "MetricsConfigurations",
    "ObjectLockConfiguration",
    "ObjectLockEnabled",
    "ReplicationConfiguration",
)
_TEXT: Final = re.compile(rb"<Message>([^<]*)</Message>")


def keep_bucket_properties(model: ReadModel) -> None:
    """Give a stack's bucket what its template says, or refuse the property by name.

    model: finds botocore's model of a service.
    """
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners

    def store(operation: str, member: str, put: Callable[[str, bytes], Any]) -> Callable[[str, Any], None]:
        def stored(bucket: str, value: Properties) -> None:
            shape = model("s3").operation_model(operation)
            request = _fitted(shape.input_shape, {"Bucket": bucket, member: value})
            status, _, reply = put(bucket, create_serializer("rest-xml").serialize_to_request(request, shape)["body"])
            if status >= 400:
                said = _TEXT.search(reply)
                raise ValueError(f"{member} of {bucket}: {said[1].decode() if said else reply.decode()}")

        return stored

    encrypt = store("PutBucketEncryption", "ServerSideEncryptionConfiguration", s3._put_bucket_encryption)
    age = store("PutBucketLifecycleConfiguration", "LifecycleConfiguration", s3._put_bucket_lifecycle)
    log = store("PutBucketLogging", "BucketLoggingStatus", s3._put_bucket_logging)
    version = store("PutBucketVersioning", "VersioningConfiguration", s3._put_bucket_versioning)

    def put_logging(bucket: str, value: Properties) -> None:
        target = str(value.get("DestinationBucketName") or bucket)
        if target not in s3._buckets:
            raise ValueError(f"The target bucket for logging does not exist: {target}")
        log(bucket, {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": value.get("LogFilePrefix") or ""}})

    provisioners._S3_BUCKET_CONFIGURATIONS = (
        *provisioners._S3_BUCKET_CONFIGURATIONS,
        ("BucketEncryption", encryption, encrypt, s3._delete_bucket_encryption),
        ("LifecycleConfiguration", lifecycle, age, s3._delete_bucket_lifecycle),
        ("LoggingConfiguration", dict, put_logging, lambda bucket: log(bucket, {})),
        ("VersioningConfiguration", dict, version, lambda bucket: version(bucket, {"Status": "Suspended"})),
    )
    around("AWS::S3::Bucket", _whole_or_refused)


def encryption(properties: Properties) -> dict[str, Any]:
    """S3's ServerSideEncryptionConfiguration for CloudFormation's BucketEncryption."""
    rules = properties.get("ServerSideEncryptionConfiguration") or []
    names = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"}
    return {"Rules": [{names.get(name, name): value for name, value in rule.items()} for rule in rules]}


def lifecycle(properties: Properties) -> dict[str, Any]:
    """S3's LifecycleConfiguration for CloudFormation's."""
    return {"Rules": [_rule(rule) for rule in properties.get("Rules") or []]}


def _rule(rule: Properties) -> dict[str, Any]:
    expiration = {"Days": "ExpirationInDays", "Date": "ExpirationDate"}
    found = {
        "ID": rule.get("Id"),
        "Status": rule.get("Status"),
        "Filter": _filter(rule),
        "Expiration": _named(rule, **expiration, ExpiredObjectDeleteMarker="ExpiredObjectDeleteMarker"),
        "Transitions": [
            _named(item, Days="TransitionInDays", Date="TransitionDate", StorageClass="StorageClass")
            for item in _listed(rule, "Transition")
        ],
        "NoncurrentVersionExpiration": rule.get("NoncurrentVersionExpiration")
        or _named(rule, NoncurrentDays="NoncurrentVersionExpirationInDays"),
        "NoncurrentVersionTransitions": [
            _named(
                item,
                NoncurrentDays="TransitionInDays",
                NewerNoncurrentVersions="NewerNoncurrentVersions",
                StorageClass="StorageClass",
            )
            for item in _listed(rule, "NoncurrentVersionTransition")
        ],
        "AbortIncompleteMultipartUpload": rule.get("AbortIncompleteMultipartUpload"),
    }
    return {name: value for name, value in found.items() if value or name == "Filter"}


def _filter(rule: Properties) -> dict[str, Any]:
    found = _named(
        rule,
        Prefix="Prefix",
        ObjectSizeGreaterThan="ObjectSizeGreaterThan",
        ObjectSizeLessThan="ObjectSizeLessThan",
    )
    tags = list(rule.get("TagFilters") or [])
    if len(found) + len(tags) > 1:
        return {"And": {**found, **({"Tags": tags} if tags else {})}}
    return {"Tag": tags[0]} if tags else found or {"Prefix": ""}


def _named(source: Properties, **names: str) -> dict[str, Any]:
    """The members of `source` under other names, without those that are not there."""
    return {name: source[member] for name, member in names.items() if source.get(member) is not None}


def _listed(rule: Properties, member: str) -> list[Properties]:
    """A property that the template may write as one or, with an s, as several."""
    return [*(rule.get(f"{member}s") or []), *([rule[member]] if rule.get(member) else [])]


def _fitted(shape: Any, value: Any) -> Any:
    """A value with the types of botocore's shape; a template may write a number or a truth as text."""
    if shape.type_name == "structure":
        return {name: _fitted(shape.members[name], item) for name, item in value.items() if name in shape.members}
    if shape.type_name == "list":
        return [_fitted(shape.member, item) for item in value]
    if shape.type_name in {"integer", "long"}:
        return int(value)
    return str(value).lower() == "true" if shape.type_name == "boolean" else value


def _whole_or_refused(properties: Properties, work: Callable[[], Any]) -> Any:
    from ministack.services import s3

    if named := [name for name in _ONLY_ON_AWS if properties.get(name)]:
        raise ValueError(f"{', '.join(named)} of a bucket does not run locally, only on AWS; leave it out here")
    there = set(s3._buckets)
    try:
        return work()
    except ValueError:
        # The stack knows nothing of a bucket that was made and could not be given its properties.
        for name in set(s3._buckets) - there:
            s3._delete_bucket(name)
        raise
