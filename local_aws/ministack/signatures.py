"""The signature of every request, checked before ministack sees it: ministack believes each caller by default.

Uses these internals of version 1.5.33: in `core.sigv4` `parse_header_signature`, `parse_query_signature`,
`request_time_failure`, `presigned_request_is_expired` and `header_signature_failure`, in `core.iam_evaluator`
`resolve_credential`, `SignedRequest` and `_sigv2_check`, `core.iam_actions.access_denied_response`,
`core.router.detect_service`, in `app` `_routing_params` and `_extract_s3_vhost_bucket`,
`core.responses._account_from_sts_session`, and in `services.lambda_svc` `_presigned_code_url` and
`_layer_content_url`. tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_CAPABILITIES: Final = ("/_ministack/cfn-response/", "/_ministack/cfn-signal/")
"""Where custom resources and wait conditions answer: AWS's addresses, too, are secrets that need no signature."""
_UNSIGNED: Final = {"AssumeRoleWithWebIdentity", "AssumeRoleWithSAML"}
"""The operations whose proof is in the request's body."""
_LINK_SECONDS: Final = 600


@dataclass(frozen=True)
class Asked:
    """An HTTP request as it arrived.

    Args:
        method: for example `POST`.
        path: decoded.
        raw_path: as sent, which is what a client signs.
        query: decoded parameters.
        headers: by name in lower case; the values of a repeated one are joined by a comma, as they are signed.
    """

    method: str
    path: str
    raw_path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Asked:
        """From ASGI's scope."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        raw = scope.get("raw_path") or scope["path"].encode()
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        return cls(scope["method"], scope["path"], raw.decode("latin-1"), query, headers)

    @property
    def is_signed(self) -> bool:
        """Whether it carries a signature, right or wrong."""
        return self.by_header or "X-Amz-Signature" in self.query or self.by_old_query

    @property
    def needs_body(self) -> bool:
        """Whether the body is needed to judge it: S3's clients send its hash as a header, others sign the body only."""
        sent = self.headers.get("x-amz-content-sha256", "")
        return not sent or sent.startswith("STREAMING-AWS4-HMAC") or not self.is_signed

    @property
    def by_old_query(self) -> bool:
        """Whether it is a link signed with version 2, which boto3 still makes for S3 in us-east-1."""
        return {"AWSAccessKeyId", "Signature", "Expires"} <= self.query.keys()

    @property
    def by_header(self) -> bool:
        return self.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")


def refusal(asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
    """The reply to a request that nobody who has keys has signed, in its service's protocol; None to a good one."""
    failed = _failure(asked, body)
    if failed is None:
        return None
    from ministack.core.iam_actions import access_denied_response

    service, _ = _service(asked, body)
    code, message = failed
    status, headers, reply = access_denied_response(
        service, "", "", str(uuid.uuid4()), error_code=code, message=message, headers=dict(asked.headers)
    )
    return int(status), dict(headers), bytes(reply)


def _failure(asked: Asked, body: bytes) -> tuple[str, str] | None:
    from ministack.core import iam_evaluator, sigv4
    from ministack.core.responses import _account_from_sts_session

    if not asked.is_signed:
        if asked.path.startswith(_CAPABILITIES) or _proves_itself(asked, body):
            return None
        return "MissingAuthenticationToken", "Request is missing Authentication Token"
    if asked.by_old_query and not asked.by_header:
        return _failure_of_old(asked)
    presigned = not asked.by_header
    signature = sigv4.parse_query_signature(asked.query) if presigned else sigv4.parse_header_signature(asked.headers)
    if isinstance(signature, tuple):
        return signature
    late = _expired(asked, signature.amz_date) if presigned else sigv4.request_time_failure(signature)
    if late:
        return late
    key = signature.access_key_id
    token = asked.query.get("X-Amz-Security-Token", [""])[0] if presigned else asked.headers.get("x-amz-security-token")
    account = _account_from_sts_session(key) or os.environ["MINISTACK_ACCOUNT_ID"]
    credential = iam_evaluator.resolve_credential(key, account, token or "")
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        return credential.code, credential.message
    found: tuple[str, str] | None = sigv4.header_signature_failure(
        signature,
        credential.secret_access_key,
        asked.method,
        asked.raw_path,
        asked.query,
        asked.headers,
        body,
        presigned=presigned,
    )
    return found


def _failure_of_old(asked: Asked) -> tuple[str, str] | None:
    from ministack.app import _extract_s3_vhost_bucket
    from ministack.core import iam_evaluator

    key = asked.query["AWSAccessKeyId"][0]
    bucket = _extract_s3_vhost_bucket(asked.headers.get("host", ""))
    request = iam_evaluator.SignedRequest(
        key,
        asked.method,
        asked.raw_path,
        dict(asked.query),
        dict(asked.headers),
        sigv2=True,
        auth_path=f"/{bucket}{asked.raw_path}" if bucket else asked.raw_path,
    )
    checked = iam_evaluator._sigv2_check(request, os.environ["MINISTACK_ACCOUNT_ID"])
    return (checked.code, checked.message) if isinstance(checked, iam_evaluator.AuthError) else None


def _expired(asked: Asked, signed_at: str) -> tuple[str, str] | None:
    from ministack.core.sigv4 import presigned_request_is_expired

    try:
        expired = presigned_request_is_expired(signed_at, asked.query["X-Amz-Expires"][0])
    except (KeyError, ValueError):
        expired = True
    return ("AccessDenied", "Request has expired") if expired else None


def _proves_itself(asked: Asked, body: bytes) -> bool:
    """Whether it goes to STS, and calls an operation that AWS's SDKs do not sign."""
    if asked.path != "/":
        return False
    service, parameters = _service(asked, body)
    return service == "sts" and set(parameters.get("Action", ())) <= _UNSIGNED and "Action" in parameters


def _service(asked: Asked, body: bytes) -> tuple[str, Mapping[str, Any]]:
    """The service that a request goes to, and its parameters."""
    from ministack.app import _routing_params
    from ministack.core import router

    parameters = _routing_params(asked.method, asked.path, asked.headers, body, dict(asked.query))
    return router.detect_service(asked.method, asked.path, dict(asked.headers), parameters), parameters


def sign_links() -> None:
    """Sign the links to the code of functions and layers, which ministack only makes look signed."""
    from ministack.services import lambda_svc

    def signed(link: Callable[..., str]) -> Callable[..., str]:
        def make(*arguments: Any) -> str:
            request = AWSRequest("GET", link(*arguments).partition("?")[0])
            keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
            SigV4QueryAuth(keys, "lambda", os.environ["MINISTACK_REGION"], expires=_LINK_SECONDS).add_auth(request)
            return str(request.url)

        return make

    for name in ("_presigned_code_url", "_layer_content_url"):
        setattr(lambda_svc, name, signed(getattr(lambda_svc, name)))
