"""Connections: a client that sends too slowly, or no HTTP, is disconnected."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from inference import model_fn
from local_aws.core.host import free_port
from serving import connections
from serving.admission import AdmissionLimits
from serving.application import Application
from serving.connections import HttpProtocol
from serving.telemetry import Metrics
from tests import grey_model
from tests.serving_process import listening, wait_until

SLOW = b"HTTP/1.1 408"


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    """The server's, written by `counted` alone."""
    return Metrics(namespace="x", dimensions={}, interval_s=3600, stream=io.StringIO())


@pytest.fixture
def counted(metrics: Metrics) -> Callable[[], dict[str, int]]:
    """The refusals that were counted since the last call."""
    stream: Any = metrics._stream

    def read() -> dict[str, int]:
        metrics.flush()
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        stream.seek(0)
        stream.truncate()
        found: Counter[str] = Counter()
        for line in lines:
            found.update({name: line[name] for name in ("Refused", "ClientErrors") if name in line})
        return dict(found)

    read()
    return read


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, metrics: Metrics) -> Iterator[int]:
    """A server in this process whose clients have a minute for their headers, until a test makes it `impatient`."""
    model = model_fn(grey_model.write(tmp_path_factory.mktemp("model")), threads=1)
    application = Application(model, limits=AdmissionLimits(), metrics=metrics)
    number = free_port()
    server = uvicorn.Server(
        uvicorn.Config(application, host="127.0.0.1", port=number, http=HttpProtocol, ws="none", log_config=None)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEADER_SECONDS", 60.0)
        patch.setattr(connections, "MAX_CONNECTIONS", 8)
        thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
        thread.start()
        wait_until(lambda: listening(number))
        yield number
        server.should_exit = True
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Gives clients 0.3 seconds from then on. Before it is called a busy machine makes nobody late."""
    return lambda: monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)


def connect(port: int, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    # The server may answer and disconnect before it has read everything.
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        for part in parts:
            connection.sendall(part)
    return connection


def heard(connection: socket.socket) -> bytes:
    """Everything until the server disconnects."""
    parts: list[bytes] = []
    with connection, contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("sent", [b"", b"GET /ping HT", b"GET /ping HTTP/1.1\r\nhost: x\r\nx-more: "])
def test_headers_that_do_not_end_are_given_up(
    port: int, impatient: Callable[[], None], sent: bytes, counted: Callable[[], dict[str, int]]
) -> None:
    impatient()
    assert heard(connect(port, sent)).startswith(SLOW)
    assert counted() == ({"ClientErrors": 1} if sent else {}), "who sends nothing has asked for nothing"


def test_headers_that_come_byte_by_byte_are_given_up(port: int, impatient: Callable[[], None]) -> None:
    impatient()
    connection = connect(port, b"GET /ping HTTP/1.1\r\n")
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                connection.sendall(b"x-more: 1\r\n")

    thread = threading.Thread(target=drip)
    thread.start()
    answer = connection.recv(65536)
    stop.set()
    thread.join()
    connection.close()
    assert answer.startswith(SLOW)


def test_the_second_request_of_a_connection_has_no_more_time(port: int, impatient: Callable[[], None]) -> None:
    connection = connect(port, b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    impatient()
    connection.sendall(b"GET /ping HTTP/1.1\r\nho")
    assert heard(connection).startswith(SLOW)


def test_a_refused_body_is_not_read_for_ever(port: int, impatient: Callable[[], None]) -> None:
    connection = connect(port, b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 404")
    impatient()
    connection.sendall(b"3\r\nabc\r\n")
    heard(connection)


def test_a_request_that_is_complete_is_not_disturbed(port: int) -> None:
    with httpx.Client() as client:
        for _ in range(3):
            assert client.get(f"http://127.0.0.1:{port}/ping").status_code == 200
            photo = grey_model.photo(5)
            answer = client.post(
                f"http://127.0.0.1:{port}/invocations", content=photo, headers={"content-type": "image/jpeg"}
            )
            assert answer.json()["count"] == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux counts a connection's segments")
def test_an_answer_comes_in_one_piece(port: int) -> None:
    photo = grey_model.photo(5)
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}\r\n"
    answers = [
        (head.encode() + b"\r\n" + photo, b"HTTP/1.1 200"),
        (b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 404"),
        (b"no http\r\n\r\n", b"HTTP/1.1 400"),
    ]
    connection = connect(port)
    for number, (sent, status) in enumerate(answers, start=1):
        connection.sendall(sent)
        answer = b""
        while not answer.endswith(b"}\n"):
            answer += connection.recv(65536)
        assert answer.startswith(status)
        assert segments_with_data(connection) == number
    connection.close()


def segments_with_data(connection: socket.socket) -> int:
    """How many the peer has sent: tcpi_data_segs_in of Linux's struct tcp_info."""
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(information[152:156], sys.byteorder)


def test_a_client_that_waits_to_be_told_to_go_on_is_told_so(port: int) -> None:
    photo = grey_model.photo(5)
    head = f"host: x\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}\r\nexpect: 100-continue\r\n\r\n"
    connection = connect(port, b"POST /invocations HTTP/1.1\r\n" + head.encode())
    assert connection.recv(65536).startswith(b"HTTP/1.1 100")
    connection.sendall(photo)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    connection.close()


def test_requests_sent_at_once_are_answered_in_their_order(port: int) -> None:
    paths = ("/ping", "/nowhere", "/execution-parameters", "/ping")
    sent = "\r\n".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n" for path in paths) + "connection: close\r\n\r\n"
    answer = heard(connect(port, sent.encode()))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200", b"200"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 not http\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nx: " + b"a" * 100_000,
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_like_everything_else(
    port: int, sent: bytes, counted: Callable[[], dict[str, int]]
) -> None:
    answer = heard(connect(port, sent))
    assert answer.startswith(b"HTTP/1.1 400") and b'"reason": "http"' in answer
    assert counted() == {"ClientErrors": 1}


def test_both_ways_to_end_a_body_are_refused_and_the_connection_ends(port: int) -> None:
    head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = heard(connect(port, head + b"0\r\n\r\nGET /ping HTTP/1.1\r\nhost: x\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 400") and b'"reason": "framing"' in answer
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows is not taken for a request"


def test_more_connections_than_the_server_holds_are_refused(port: int, counted: Callable[[], dict[str, int]]) -> None:
    held = [connect(port) for _ in range(8)]
    try:
        assert heard(connect(port)).startswith(b"HTTP/1.1 503")
        assert counted() == {"Refused": 1}, "the dashboard shows it as refused under load"
    finally:
        for connection in held:
            connection.close()
    assert httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200
