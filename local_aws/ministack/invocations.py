"""What Lambda takes for an invocation and for a function's code; ministack takes anything.

Uses these internals of version 1.5.33: `app.SERVICE_HANDLERS`, `core.responses.error_response_json`,
`services.lambda_svc._fetch_code_from_s3` and `services.cloudformation.provisioners._RESOURCE_HANDLERS`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

_INVOKE: Final = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
_LARGEST: Final = {"Event": 1024 * 1024, "RequestResponse": 6 * 1024 * 1024}
_LARGEST_ANSWER: Final = 6 * 1024 * 1024 + 100
_FAILED: Final = "X-Amz-Function-Error"


def hold_invocations() -> None:
    """Refuse a payload that is no JSON or too large, and fail an answer that is too large, as AWS does."""
    from ministack import app
    from ministack.core.responses import error_response_json

    handle = app.SERVICE_HANDLERS["lambda"]

    async def handle_held(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Any:
        if method != "POST" or not _INVOKE.fullmatch(path):
            return await handle(method, path, headers, body, query)
        kind = headers.get("x-amz-invocation-type") or "RequestResponse"
        if len(body) > _LARGEST.get(kind, len(body)):
            limit = f"(limit {_LARGEST[kind]} bytes)"
            message = f"{len(body)} byte payload is too large for the {kind} invocation type {limit}"
            return error_response_json("RequestTooLargeException", message, 413)
        try:
            json.loads(body or b"{}")
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            return error_response_json("InvalidRequestContentException", message, 400)
        status, replied, answer = await handle(method, path, headers, body, query)
        if status == 200 and len(answer) > _LARGEST_ANSWER:
            message = f"Response payload size exceeded maximum allowed payload size ({_LARGEST_ANSWER} bytes)."
            failure = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}
            return status, {**replied, _FAILED: "Unhandled"}, json.dumps(failure).encode()
        return status, replied, answer

    app.SERVICE_HANDLERS["lambda"] = handle_held


def require_code() -> None:
    """Refuse a stack's function whose code is not in S3; ministack makes one without any."""
    from ministack.services import lambda_svc
    from ministack.services.cloudformation import provisioners

    def check(code: Mapping[str, Any]) -> None:
        bucket, key = code.get("S3Bucket"), code.get("S3Key")
        if not bucket or not key:
            return
        if lambda_svc._fetch_code_from_s3(bucket, key, version_id=code.get("S3ObjectVersion")) is None:
            raise ValueError(
                f"Error occurred while GetObject of s3://{bucket}/{key}. S3 Error Code: NoSuchKey. "
                "(Service: Lambda, Status Code: 400, HandlerErrorCode: InvalidRequest)"
            )

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    @wraps(create)
    def create_checked(logical_id: str, properties: Mapping[str, Any], *more: Any) -> Any:
        check(properties.get("Code") or {})
        return create(logical_id, properties, *more)

    @wraps(update)
    def update_checked(name: str, before: Mapping[str, Any], after: Mapping[str, Any], *more: Any) -> Any:
        if before.get("Code") != after.get("Code"):
            check(after.get("Code") or {})
        return update(name, before, after, *more)

    handlers["create"], handlers["update"] = create_checked, update_checked
