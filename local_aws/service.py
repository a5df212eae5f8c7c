"""The SageMaker service as ministack calls it: control plane, data plane and the local-only administration."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from urllib.parse import unquote

from local_aws.core.authorisation import authorise
from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.wire import SAGEMAKER, Document, Reply, dispatch, error_reply, json_reply
from local_aws.hosting.async_runtime import invoke_async
from local_aws.hosting.runtime import ModelError, invoke, model_error_reply
from local_aws.ministack import iam
from local_aws.ministack.hooks import Headers

ADMIN_PREFIX = "/_local/"

AdminHandler = Callable[[Context, Document], Document]
ADMIN: dict[str, AdminHandler] = {}

_log = logging.getLogger("local_aws")


def admin(name: str, area: str = "sagemaker") -> Callable[[AdminHandler], AdminHandler]:
    """Make the decorated function answer `POST /_local/AREA/NAME`: what happens to people on AWS (a spot reclaim,
    money being spent) and has no operation there."""

    def register(handler: AdminHandler) -> AdminHandler:
        if f"{area}/{name}" in ADMIN:
            raise ValueError(f"two admin handlers for {area}/{name}")
        ADMIN[f"{area}/{name}"] = handler
        return handler

    return register


class SageMakerService:
    """Answers every request that ministack finds to be SageMaker's."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def handle(
        self, method: str, path: str, headers: Headers, body: bytes, query: dict[str, list[str]]
    ) -> tuple[int, Headers, bytes]:
        """ministack's handler signature."""
        access_key = iam.access_key_of(headers, query)
        if path.startswith("/endpoints/"):
            return await self._invoke(path, headers, body, access_key)
        target = headers.get("x-amz-target", "")
        return await asyncio.to_thread(dispatch, self._context, target, body, access_key)

    async def administer(self, path: str, body: bytes) -> Reply:
        """Answer a request to `/_local/...`."""
        name = path.removeprefix(ADMIN_PREFIX)
        try:
            handler = ADMIN.get(name)
            if handler is None:
                raise AwsError("UnknownOperationException", f"No such path; known: {', '.join(sorted(ADMIN))}", 404)
            return json_reply(await asyncio.to_thread(handler, self._context, json.loads(body or b"{}")))
        except ValueError as error:
            return error_reply(validation(f"The request body is not JSON: {error}"))
        except AwsError as error:
            return error_reply(error)

    async def _invoke(self, path: str, headers: Headers, body: bytes, access_key: str) -> Reply:
        name, _, action = path.removeprefix("/endpoints/").partition("/")
        try:
            if self._context.enforce_iam:
                wanted = {"EndpointName": unquote(name)}
                operation = "InvokeEndpointAsync" if action == "async-invocations" else "InvokeEndpoint"
                authorise(self._context, access_key, SAGEMAKER, operation, wanted)
            if action == "async-invocations":
                return await asyncio.to_thread(invoke_async, self._context, unquote(name), headers, body)
            if action != "invocations":
                raise AwsError("NotImplemented", f"The local SageMaker runtime does not implement {path}", 501)
            return await invoke(self._context, unquote(name), headers, body)
        except ModelError as error:
            return model_error_reply(error)
        except AwsError as error:
            return error_reply(error)
