"""Connections of uvicorn: a client that sends its request too slowly, or no HTTP, gets an answer and is disconnected.

uvicorn limits how long a connection may rest between two requests. It does not limit how long the headers of a request
may take, nor the rest of a body that the application has refused. Here it also sends an answer in one piece.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.transports import JoiningTransport

HEADER_SECONDS: Final = 10.0
"""For the headers of a request, from the connection or their first byte, and for the rest of a refused body."""
MAX_CONNECTIONS: Final = 1024


class HttpProtocol(H11Protocol):
    """One connection to a server of `Application`, whose metrics count what is refused here, too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._until: asyncio.TimerHandle | None = None
        self._joining: JoiningTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for headers; refuse a connection beyond MAX_CONNECTIONS."""
        self._joining = JoiningTransport(transport, self.loop)
        super().connection_made(self._joining)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "busy", f"{MAX_CONNECTIONS} connections are open; try again in a second")
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Read the bytes that came; wait for the rest of headers, or of a body that nobody reads."""
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait with the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Send the answer, whose last part has been written."""
        self._joining.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP like every other refusal, and disconnect."""
        self._refuse(400, "http", msg)

    def _wait(self) -> None:
        if self._until is None:
            self._until = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None

    def _give_up(self) -> None:
        self._until = None
        if self.conn.their_state is h11.IDLE:
            self._refuse(
                408, "slow", "the request's headers did not arrive in time", asked=bool(self.conn.trailing_data[0])
            )
        else:
            self.transport.close()

    def _refuse(self, status: int, reason: str, message: str, *, asked: bool = True) -> None:
        """Answer without the application, and disconnect. `asked`: whether the client has sent anything."""
        if self.transport.is_closing():
            return
        # As uvicorn was given it; `self.app` may be wrapped.
        self.config.app.note_refusal(status, reason, counted=asked)  # type: ignore[union-attr]
        body = json.dumps({"error": {"reason": reason, "message": message}}).encode() + b"\n"
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            reply = h11.Response(status_code=status, headers=headers, reason=b"")
            for event in (reply, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
