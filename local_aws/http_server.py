"""The HTTP server in front of the local AWS: uvicorn.

ministack comes with hypercorn, whose tasks and timers make a small request take half as much processor time again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

KEEP_ALIVE_SECONDS: Final = 75
GRACEFUL_SECONDS: Final = 2


def bound(host: str, port: int) -> socket.socket:
    """A socket for `HttpServer`, at which nothing is taken before it serves.

    Raises OSError where the port is taken, while uvicorn would end the process. The socket names its protocol: asyncio
    sends at once on no other. An answer has a head and a body, and the second waited 40 ms for the client to
    acknowledge the first.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


class HttpServer(uvicorn.Server):
    """Serves on bound sockets until `should_exit` is set; `started` says whether it ever could."""

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
