"""A transport that sends in one piece what is written in one turn of the event loop.

uvicorn writes the head of an answer and then its body. Sent apart, they cost two calls of the kernel and wake the
client twice.
"""

from __future__ import annotations

import asyncio
from typing import Any


class JoiningTransport(asyncio.Transport):
    """What uvicorn uses of a transport: writes are held until `flush`, `close` or the end of the event loop's turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: list[bytes | bytearray | memoryview[Any]] = []

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Hold the data."""
        if not data:
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            data, self._held = b"".join(self._held), []
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Send what is held, and disconnect."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Disconnect at once."""
        self._held = []
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or will be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of any transport."""
        return self._transport.get_extra_info(name, default)
