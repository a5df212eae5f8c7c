"""Requests over HTTP, and what is no HTTP: how they are sent, and what the answer is worth."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from benchmarks.soaking.bodies import Request

_PATIENCE: Final = 60.0
_LEFT_OPEN: Final = 150
CUT_OFF: Final = 0
"""In the place of a status: the connection ended without an answer, or there was none."""


@dataclass
class Report:
    """What happened: requests by kind, answers by status, and what should not be."""

    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, kind: str, status: int, wrong: str) -> None:
        """Count one request."""
        self.kinds[kind] += 1
        self.statuses[status] += 1
        if wrong:
            self.wrong.append(f"{kind}: {wrong}")

    @property
    def failures(self) -> int:
        """Answers that blame the server; a full house (503) is no failure."""
        return sum(number for status, number in self.statuses.items() if status >= 500 and status != 503)


class Client:
    """One client that keeps its connection while the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: Request) -> tuple[int, str]:
        """The status, and what is wrong with the answer, if anything is."""
        try:
            status, body = self._exchange(request)
        except TimeoutError:
            self.close()
            return CUT_OFF, f"no answer within {_PATIENCE:.0f} seconds"
        except (ConnectionError, http.client.HTTPException) as error:
            self.close()
            # The server may answer a body that is too large, and end the connection before all of it was sent.
            large = len(request.body) > 1_000_000 and request.counts is None
            return CUT_OFF, "" if large else f"the connection broke: {error!r}"
        return status, judge(request, status, body)

    def ping(self) -> int:
        """The status of /ping."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/ping")
            return connection.getresponse().status
        return CUT_OFF

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, request: Request) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        headers = {"content-type": request.content_type} if request.content_type else {}
        self._connection.request("POST", "/invocations", request.body, headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.getheader("connection") == "close" or response.status in (408, 413):
            self.close()
        return response.status, body


def judge(request: Request, status: int, body: bytes) -> str:
    """What is wrong with an answer; empty if nothing is."""
    try:
        document = json.loads(body)
    except ValueError:
        return f"status {status} without JSON: {body[:200]!r}"
    if request.counts is None:
        fine = 400 <= status < 500 or status == 503 or (request.may_be_read and status == 200)
        return "" if fine else f"status {status}: {body[:200]!r}"
    if status != 200:
        return f"status {status}: {body[:200]!r}"
    counts = tuple(entry.get("count") for entry in document.get("predictions", [document]))
    return "" if counts == request.counts else f"{counts} instead of {request.counts}"


class NoHttp:
    """What is sent over a plain connection: broken heads, two lengths, endless headers, bodies that do not come."""

    def __init__(self, port: int, chance: random.Random, photo: bytes) -> None:
        self._port = port
        self._chance = chance
        self._photo = photo
        self._open: deque[socket.socket] = deque()

    def send(self) -> tuple[str, int, str]:
        """Kind, status and what is wrong."""
        kind, sent = self._draw()
        try:
            plain = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE)
        except OSError as error:
            return kind, CUT_OFF, f"no connection: {error!r}"
        if kind in ("headers without end", "body that does not come"):
            with contextlib.suppress(OSError):
                plain.sendall(sent)
            self._open.append(plain)
            if len(self._open) > _LEFT_OPEN:
                self._open.popleft().close()
            return kind, CUT_OFF, ""
        received = b""
        # The server may have ended the connection before all was sent.
        with plain, contextlib.suppress(OSError):
            plain.sendall(sent)
            plain.shutdown(socket.SHUT_WR)
            while part := plain.recv(65536):
                received += part
        status = int(received[9:12]) if received[9:12].isdigit() else CUT_OFF
        fine = status in (CUT_OFF, 503) or 400 <= status < 500 or (kind == "changed head" and status == 200)
        return kind, status, "" if fine else repr(received[:200])

    def close(self) -> None:
        """End the connections that were left open."""
        for plain in self._open:
            plain.close()

    def _draw(self) -> tuple[str, bytes]:
        length = len(self._photo)
        head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n"
        whole = head + b"content-length: %d\r\n\r\n" % length
        changed = bytearray(whole)
        for _ in range(self._chance.randint(1, 4)):
            changed[self._chance.randrange(len(changed))] = self._chance.randrange(256)
        both = head + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" % length
        return self._chance.choice(
            [
                ("noise", self._chance.randbytes(self._chance.randrange(1, 3000))),
                ("changed head", bytes(changed) + self._photo),
                ("two lengths", both),
                ("two content-lengths", head + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"),
                ("negative length", head + b"content-length: -1\r\n\r\n"),
                ("broken chunk", head + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + self._photo),
                ("large header", head + b"x-more: " + b"a" * 200_000 + b"\r\n\r\n"),
                ("many headers", head + b"x: y\r\n" * 20_000 + b"\r\n"),
                ("body hung up", whole + self._photo[: length // 2]),
                ("headers without end", head),
                ("body that does not come", whole),
            ]
        )
