"""Requests that are refused before ministack sees them.

Uses `app.SERVICE_HANDLERS` of version 1.5.33; tests/contract/test_hooks.py fails if it moved when ministack is
upgraded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from local_aws.ministack.stack_resources import json_object

Answer = tuple[int, dict[str, str], bytes]
FUNCTIONS: Final = re.compile(r"/2015-03-31/functions(/[^/]+/configuration)?/?")
SCHEDULES: Final = re.compile(r"/schedules/[^/]+")


def before(service: str, refusal: Callable[[str, str, Mapping[str, str], bytes], Answer | None]) -> None:
    """Let `refusal` answer a service's requests first, by method, path, headers, body; None leaves it to ministack."""
    from ministack import app

    handle = app.SERVICE_HANDLERS[service]

    async def handle_checked(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Any:
        refused = refusal(method, path, headers, body)
        return refused if refused is not None else await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS[service] = handle_checked


def before_writing(service: str, paths: re.Pattern[str], refusal: Callable[[dict[str, Any]], Answer | None]) -> None:
    """Let `refusal` answer first what makes or changes a resource at one of these paths, by the object in its body."""

    def by_body(method: str, path: str, _: Mapping[str, str], body: bytes) -> Answer | None:
        return refusal(json_object(body)) if method in {"POST", "PUT"} and paths.fullmatch(path) else None

    before(service, by_body)
