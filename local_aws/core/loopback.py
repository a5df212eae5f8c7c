"""Ports and pings on this machine, with the standard library only: they are needed before anything else is loaded."""

from __future__ import annotations

import contextlib
import http.client
import socket


def free_port() -> int:
    """A port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_status(port: int, path: str, seconds: float) -> int | None:
    """The status of a GET on loopback, or None when it is not answered within `seconds`."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
