"""Requests to other computers are seen: the clients' way out is a proxy that lets none through and notes them."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Outside:
    """A proxy on loopback.

    Args:
        url: for `HTTPS_PROXY`.
        asked: the hosts that were asked for, in order.
    """

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def watched() -> Iterator[Outside]:
    """A proxy that answers 403 to everything."""

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = self.rfile.readline(4096).decode("latin-1").split()
            if len(words) >= 2:
                outside.asked.append(words[1])
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        server.daemon_threads = True
        outside = Outside(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield outside
        finally:
            server.shutdown()
