"""The HTTP server in front of the local AWS: uvicorn.

ministack comes with hypercorn, whose tasks and timers make a small request take half as much processor time again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

KEEP_ALIVE_SECONDS: Final = 75
GRACEFUL_SECONDS: Final = 2


class HttpServer(uvicorn.Server):
    """Serves on listening sockets until `should_exit` is set; `started` says whether it ever could."""

    def __init__(self, application: Any) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                lifespan="on",
                ws="none",  # no service here needs one, and pages can open them
                http="h11",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                # AWS's answers name no server of HTTP, and ministack dates its own.
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACEFUL_SECONDS,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which ends its jobs before its HTTP server."""
        yield
