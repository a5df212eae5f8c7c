"""Names of buckets that S3 refuses: ministack takes those that are reserved, and in stacks every name.

Uses `_create_bucket`, `_validate_bucket_name` and `_error` of `services.s3` of version 1.5.33;
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

from local_aws.ministack.stack_resources import Properties, refuse

_BEGINNINGS: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_ENDS: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an")
"""The last one is that of the account's own namespace, which does not exist here."""
_INVALID: Final = "The specified bucket is not valid."
_NAMESPACE: Final = (
    "Buckets of the account's own namespace do not run locally, only on AWS; name one of the global namespace"
)


def refuse_bucket_names() -> None:
    """Refuse to make a bucket under a name that S3 does not take, by CreateBucket and in stacks."""
    from ministack.services import s3

    create = s3._create_bucket

    @wraps(create)
    def create_checked(
        name: str, body: bytes, headers: Mapping[str, str] | None = None, *more: Any, **named: Any
    ) -> Any:
        if (headers or {}).get("x-amz-bucket-namespace", "global") != "global":
            return s3._error("NotImplemented", _NAMESPACE, 501, f"/{name}")
        if _is_reserved(name):
            return s3._error("InvalidBucketName", _INVALID, 400, f"/{name}")
        return create(name, body, headers, *more, **named)

    s3._create_bucket = create_checked

    def of_resource(properties: Properties) -> str:
        if properties.get("BucketNamePrefix") or properties.get("BucketNamespace", "global") != "global":
            return _NAMESPACE
        name = properties.get("BucketName")
        if not name or (s3._validate_bucket_name(str(name)) and not _is_reserved(str(name))):
            return ""
        return f"{_INVALID} (Service: S3, Status Code: 400) (Error Code: InvalidBucketName) (Bucket: {name})"

    refuse("AWS::S3::Bucket", of_resource)


def _is_reserved(name: str) -> bool:
    return name.startswith(_BEGINNINGS) or name.endswith(_ENDS)
