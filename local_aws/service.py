"""The entry points that ministack calls: control plane and data plane of SageMaker."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from local_aws.core.authorisation import authorise
from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.protocol import SAGEMAKER, Headers, Reply
from local_aws.core.wire import dispatch, error_reply
from local_aws.hosting.runtime import ModelError, invoke, invoke_async, model_error_reply
from local_aws.ministack import iam

_ENDPOINTS = "/endpoints/"


class SageMakerService:
    """Answers every request that ministack recognises as one to a service of `TARGETS`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def handle(
        self, method: str, path: str, headers: Headers, body: bytes, query: dict[str, list[str]]
    ) -> tuple[int, Headers, bytes]:
        """ministack's handler signature."""
        access_key = iam.access_key_of(headers, query)
        if path.startswith(_ENDPOINTS):
            return await self._invoke(path, headers, body, access_key)
        target = headers.get("x-amz-target", "")
        return await asyncio.to_thread(dispatch, self._context, target, body, access_key)

    async def _invoke(self, path: str, headers: Headers, body: bytes, access_key: str) -> Reply:
        encoded, _, action = path.removeprefix(_ENDPOINTS).partition("/")
        name = unquote(encoded)
        try:
            if self._context.enforce_iam:
                operation = "InvokeEndpointAsync" if action == "async-invocations" else "InvokeEndpoint"
                authorise(self._context, access_key, SAGEMAKER, operation, {"EndpointName": name})
            if action == "async-invocations":
                return await asyncio.to_thread(invoke_async, self._context, name, headers, body)
            if action != "invocations":
                raise AwsError("NotImplemented", f"The local SageMaker runtime does not implement {path}", 501)
            return await invoke(self._context, name, headers, body)
        except ModelError as error:
            return model_error_reply(error)
        except AwsError as error:
            return error_reply(error)
