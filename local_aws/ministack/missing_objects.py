"""Reads of objects that do not exist, by callers who may not list the bucket.

S3 denies them (AWS documentation: GetObject, HeadObject): otherwise they would tell which keys there are. ministack
says that there is none. The key stands for the prefix of a list: seen, in https://github.com/kopia/kopia/pull/3072.

Uses these internals of version 1.5.33: `app.SERVICE_HANDLERS`, and in `services.s3` `_buckets`, `_error` and
`_parse_bucket_key`. tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from local_aws.ministack import iam


def deny_missing_objects(*, account: str, region: str) -> None:
    """Answer 403 for an object that does not exist, where the caller may not list its bucket."""
    from ministack import app
    from ministack.services import s3

    handle = app.SERVICE_HANDLERS["s3"]

    async def handle_checked(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Any:
        answer = await handle(method, path, headers, body, query)
        if method not in {"GET", "HEAD"} or answer[0] != HTTPStatus.NOT_FOUND:
            return answer
        bucket, key = s3._parse_bucket_key(path, headers)
        if not key or bucket not in s3._buckets:
            return answer
        refused = iam.denial(
            iam.access_key_of(headers, query),
            "s3:ListBucket",
            f"arn:aws:s3:::{bucket}",
            {"s3:prefix": key},
            account=account,
            region=region,
        )
        if refused is None:
            return answer
        status, answered, text = s3._error("AccessDenied", refused, HTTPStatus.FORBIDDEN, f"/{bucket}/{key}")
        return status, answered, b"" if method == "HEAD" else text

    app.SERVICE_HANDLERS["s3"] = handle_checked
