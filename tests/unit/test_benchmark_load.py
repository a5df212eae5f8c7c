"""What benchmarks of the server count as an error: a server that has ended, and one that never answers."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.endpoint.load import Contestant, Sample
from benchmarks.soaking import wire
from benchmarks.soaking.bodies import Request
from benchmarks.soaking.wire import CUT_OFF, Client, NoHttp
from local_aws.core.host import free_port


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_photos_for_a_contestant_that_has_ended_are_errors(tmp_path: Path) -> None:
    ended = Contestant("none", [sys.executable, "-c", ""], free_port(), "/invocations", {}, tmp_path)
    sample = Sample()
    try:
        ended.run([b"photo"], concurrency=2, requests=7, seconds=60, into=sample)
    finally:
        ended.stop()
    assert (sample.errors, sample.seconds) == (7, [])


def test_a_server_that_never_answers_has_starved_who_asks(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PATIENCE", 0.05)
    for request in (Request("good", b"photo", counts=(3,)), Request("hostile and large", bytes(2_000_000))):
        assert Client(silent).send(request) == (CUT_OFF, "no answer within 0 seconds")
    assert Client(silent).ping() == CUT_OFF


def test_a_server_that_has_ended_is_no_answer() -> None:
    gone = free_port()
    assert Client(gone).ping() == CUT_OFF
    assert "connection broke" in Client(gone).send(Request("good", b"photo", counts=(3,)))[1]
    kind, status, wrong = NoHttp(gone, random.Random(0), b"photo").send()
    assert kind and status == CUT_OFF and "no connection" in wrong


def test_what_a_client_raises_ends_the_benchmark() -> None:
    def fail() -> None:
        raise ArithmeticError("wrong")

    with pytest.raises(ArithmeticError, match="wrong"):
        soak.in_threads([fail, lambda: None])
