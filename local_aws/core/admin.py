"""The paths below `/_local/`: what happens to a user on AWS without an API call, such as a spot interruption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.protocol import Handler, Reply
from local_aws.core.wire import error_reply, json_reply

PREFIX = "/_local/"


async def administer(context: Context, handlers: Mapping[str, Handler], path: str, body: bytes) -> Reply:
    """Answer `POST /_local/AREA/NAME`; never raises `AwsError`.

    Args:
        context: the local AWS.
        handlers: what answers, by `AREA/NAME`.
        path: the whole path.
        body: a JSON object.
    """
    try:
        handler = handlers.get(path.removeprefix(PREFIX))
        if handler is None:
            raise AwsError("UnknownOperationException", f"No such path; known: {', '.join(sorted(handlers))}", 404)
        return json_reply(await asyncio.to_thread(handler, context, json.loads(body or b"{}")))
    except ValueError as error:
        return error_reply(validation(f"The request body is not JSON: {error}"))
    except AwsError as error:
        return error_reply(error)
