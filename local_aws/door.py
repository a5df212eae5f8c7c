"""The one way in: what a web page sends is refused, and so is what nobody who has this local AWS's keys has signed.

A page of any site that a developer looks at can send requests to loopback. It cannot read the keys, a browser names
the page in `Origin`, and a page whose own name leads to loopback says that name in `Host`. Each of the three is enough.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from local_aws.core import admin
from local_aws.core.context import Context
from local_aws.core.protocol import Handler
from local_aws.ministack.custom_answers import ANSWERS, as_cloudformation_reads
from local_aws.ministack.signatures import Asked, refusal
from local_aws.server import HEALTH

_HERE: Final = {"localhost", "127.0.0.1", "[::1]"}
_CORS: Final = b"access-control-"


def guarded(context: Context, application: Any, administration: Mapping[str, Handler]) -> Any:
    """An ASGI application in front of ministack's.

    Args:
        context: the local AWS.
        application: ministack's ASGI application.
        administration: what answers below `/_local/`.
    """

    async def enter(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        asked = Asked.of(scope)
        if stranger := _stranger(asked.headers):
            body = json.dumps({"__type": "AccessDeniedException", "message": stranger}).encode()
            await _answer(send, 403, {"Content-Type": "application/x-amz-json-1.1"}, body)
            return
        if asked.path != HEALTH:
            received = b""
            if asked.needs_body:
                body_or_none = await _read(receive)
                if body_or_none is None:
                    return
                received, receive = body_or_none, _again(body_or_none, receive)
            if (refused := refusal(asked, received)) is not None:
                await _answer(send, *refused)
                return
        if asked.path.startswith(admin.PREFIX):
            document = await _read(receive)
            if document is not None:
                await _answer(send, *await admin.administer(context, administration, asked.path, document))
            return
        receive = await _shortened(asked, receive)
        if context.enforce_iam:
            # The buckets' policies refuse requests without TLS, which loopback does not have.
            scope = {**scope, "scheme": "https"}
        await application(scope, receive, _without_cors(send))

    return enter


def _stranger(headers: Mapping[str, str]) -> str | None:
    """Why a request comes from a browser's page; None if it does not."""
    if "origin" in headers:
        return f"The local AWS takes no requests of web pages; this one comes from {headers['origin']}"
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if name.lower() in _HERE or name.lower().endswith(".localhost"):
        return None
    return f"The local AWS answers as localhost only, not as {host or 'a host without a name'}"


def _without_cors(send: Any) -> Any:
    """ministack allows every page to read every reply; no page may."""

    async def send_to_programs(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if not pair[0].lower().startswith(_CORS)]
            message = {**message, "headers": headers}
        await send(message)

    return send_to_programs


async def _answer(send: Any, status: int, headers: Mapping[str, str], body: bytes) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def _read(receive: Any) -> bytes | None:
    """The whole body; None when the client has gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _shortened(asked: Asked, receive: Any) -> Any:
    """The body of an answer of a custom resource as CloudFormation reads it; any other body as it is."""
    if not asked.path.startswith(ANSWERS):
        return receive
    return _again(as_cloudformation_reads(await _read(receive) or b""), receive)


def _again(body: bytes, receive: Any) -> Any:
    """The body once more, then what follows it."""
    given = False

    async def receive_again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
