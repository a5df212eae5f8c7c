"""Replies of CloudFormation that wait for a stack that settles quickly.

AWS answers ExecuteChangeSet and DeleteStack while the stack still changes. The CDK CLI then looks at the stack at once
and every five seconds: a stack that is ready a moment after the first look costs it five seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import parse_qs

from local_aws.ministack.hooks import Headers

_OPERATIONS: Final = {"ExecuteChangeSet", "DeleteStack"}
_STARTED: ContextVar[list[asyncio.Event] | None] = ContextVar("changes of stacks that a request started", default=None)


def answer_once_settled(seconds: float) -> None:
    """Hold the replies of ExecuteChangeSet and DeleteStack until the stack has settled, `seconds` at most."""
    from ministack import app
    from ministack.services.cloudformation import changesets, handlers

    for module in (changesets, handlers):
        module._create_stack_task_in_region = _followed(module._create_stack_task_in_region)
    handle = app.SERVICE_HANDLERS["cloudformation"]

    async def handle_and_wait(
        method: str, path: str, headers: Headers, body: bytes, query: dict[str, list[str]]
    ) -> tuple[int, Headers, bytes]:
        if operation(body, query) not in _OPERATIONS:
            return await handle(method, path, headers, body, query)  # type: ignore[no-any-return]
        started: list[asyncio.Event] = []
        token = _STARTED.set(started)
        try:
            reply = await handle(method, path, headers, body, query)
        finally:
            _STARTED.reset(token)
        waiting = [asyncio.ensure_future(settled.wait()) for settled in started]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=seconds)
            for wait in late:
                wait.cancel()
        return reply  # type: ignore[no-any-return]

    app.SERVICE_HANDLERS["cloudformation"] = handle_and_wait


def operation(body: bytes, query: dict[str, list[str]]) -> str:
    """The operation that a request of the Query protocol names; empty if none."""
    named = query.get("Action") or parse_qs(body.decode(errors="replace")).get("Action") or [""]
    return named[0]


def _followed(create: Any) -> Any:
    """ministack's function that starts the change of a stack, which also notes when the change has ended."""

    def create_and_note(change: Coroutine[Any, Any, None], stack: Any, stack_id: str | None = None) -> None:
        started = _STARTED.get()
        if started is None:
            return create(change, stack, stack_id)  # type: ignore[no-any-return]
        settled = asyncio.Event()
        started.append(settled)

        async def run() -> None:
            try:
                await change
            finally:
                settled.set()

        return create(run(), stack, stack_id)  # type: ignore[no-any-return]

    return create_and_note
