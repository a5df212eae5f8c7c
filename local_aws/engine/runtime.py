"""The data plane: InvokeEndpoint."""

from __future__ import annotations

from local_aws.context import Context
from local_aws.errors import validation
from local_aws.hooks import Headers
from local_aws.wire import Reply


async def invoke(context: Context, endpoint_name: str, headers: Headers, body: bytes) -> Reply:
    """Forward a request to an instance of the endpoint; raises `AwsError` when there is none."""
    raise validation(f"Endpoint {endpoint_name} of account {context.account} not found.")
