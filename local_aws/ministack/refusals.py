"""Requests that are refused before ministack sees them.

Uses `app.SERVICE_HANDLERS` of version 1.5.33; tests/contract/test_hooks.py fails if it moved when ministack is
upgraded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


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
