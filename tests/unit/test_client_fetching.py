"""Fetching from an attacker: a real TLS server on this machine that plays every trick, and the reason for each refusal.

Only the last step of the way is bent: a connection to a checked public address is led to the local server. Names are
resolved by the test, since the attacker owns his DNS.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from binventory.client import FetchError, FetchPolicy, fetch_photo
from binventory.client.addresses import Address, is_public

PUBLIC = ip_address("93.184.215.14")
POLICY = FetchPolicy(allowed_hosts=("photos.example", "moved.example", "inside.example"), max_seconds=60.0)


def photo(kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(stream, kind)
    return stream.getvalue()


def http(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    fields = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Play = Callable[[ssl.SSLSocket], None]


def sends(answer: bytes) -> Play:
    return lambda connection: connection.sendall(answer)


@dataclass
class Attacker:
    """A TLS server that reads a request and then does what the test defines; remembers the requests."""

    authority: trustme.CA
    plays: list[Play] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connected_to: list[Address] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*POLICY.allowed_hosts).configure_cert(self._tls)
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def connect(self, address: Address, seconds: float) -> socket.socket:
        self.connected_to.append(address)
        return socket.create_connection(self._listener.getsockname(), timeout=seconds)

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(plain,), daemon=True).start()

    def _answer(self, plain: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(plain, server_side=True) as connection:
                self.requests.append(connection.recv(65536))
                self.plays.pop(0)(connection)
                connection.unwrap()
        except (OSError, IndexError):
            plain.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def attacker(authority: trustme.CA) -> Iterator[Attacker]:
    server = Attacker(authority)
    yield server
    server.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    return tls


def names(**addresses: str) -> Callable[[str], list[Address]]:
    """A resolver: `photos` is photos.example; every other name is public."""
    return lambda host: [ip_address(text) for text in addresses.get(host.split(".")[0], str(PUBLIC)).split()]


def fetch(
    attacker: Attacker,
    *plays: Play,
    url: str = "https://photos.example/bin.jpg",
    policy: FetchPolicy = POLICY,
    resolve: Callable[[str], list[Address]] | None = None,
) -> bytes:
    attacker.plays.extend(plays)
    tls = trusting(attacker.authority)
    fetched = fetch_photo(url, policy, resolve=resolve or names(), connect=attacker.connect, tls=tls)
    return fetched.photo


def refusal(attacker: Attacker, *plays: Play, **options: object) -> str:
    with pytest.raises(FetchError) as refused:
        fetch(attacker, *plays, **options)  # type: ignore[arg-type]
    assert str(refused.value)
    return refused.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_is_fetched_from_the_address_that_was_checked(attacker: Attacker, kind: str) -> None:
    data = photo(kind)
    assert fetch(attacker, sends(http(data)), url="https://photos.example/a/bin.jpg?x=1") == data
    assert attacker.connected_to == [PUBLIC]
    head = attacker.requests[0].decode().splitlines()
    assert head[0] == "GET /a/bin.jpg?x=1 HTTP/1.1" and "host: photos.example" in map(str.lower, head)


def test_a_body_in_chunks_and_one_ended_by_closing_are_read(attacker: Attacker) -> None:
    data = photo()
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:100], data[100:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert fetch(attacker, sends(head + chunked)) == data
    assert fetch(attacker, sends(b"HTTP/1.1 200 OK\r\n\r\n" + data)) == data


def test_a_redirect_to_a_listed_host_is_followed(attacker: Attacker) -> None:
    data = photo()
    for target in ("https://moved.example/new.jpg", "/new.jpg"):
        assert fetch(attacker, sends(http(status="302 Found", location=target)), sends(http(data))) == data


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("https://inside.example/", "private_address"),
        ("https://127.0.0.1/", "not_allowed"),
        ("https://[::ffff:127.0.0.1]/", "not_allowed"),
        ("http://photos.example/bin.jpg", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("https://photos.example:22/", "port"),
        ("https://user:secret@photos.example/", "credentials"),
        ("https://elsewhere.example/", "not_allowed"),
        ("https://photos.example/\tx", "url"),
    ],
)
def test_every_redirect_is_checked_like_a_url(attacker: Attacker, target: str, reason: str) -> None:
    resolve = names(inside="10.0.0.7")
    assert refusal(attacker, sends(http(status="302 Found", location=target)), resolve=resolve) == reason
    assert len(attacker.connected_to) == 1


def test_a_circle_of_redirects_ends(attacker: Attacker) -> None:
    circle = [sends(http(status="301 Moved", location="https://photos.example/bin.jpg"))] * 10
    assert refusal(attacker, *circle) == "too_many_redirects"
    assert len(attacker.requests) == 1 + POLICY.max_redirects


PRIVATE = [
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_inside_is_refused_unconnected(attacker: Attacker, address: str) -> None:
    assert refusal(attacker, resolve=names(photos=address)) == "private_address"
    assert refusal(attacker, resolve=names(photos=f"{PUBLIC} {address}")) == "private_address"
    assert attacker.connected_to == []


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_never_makes_it_public(address: IPv4Address) -> None:
    number = int(address)
    for wrapped in (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address(number),
    ):
        assert is_public(address) or not is_public(wrapped)


def test_dns_that_changes_its_answer_is_asked_once(attacker: Attacker) -> None:
    answers = iter([[PUBLIC], [ip_address("127.0.0.1")]])
    data = photo()
    assert fetch(attacker, sends(http(data)), resolve=lambda _: next(answers)) == data
    assert attacker.connected_to == [PUBLIC]
    # Asked again for the redirect's own hop, the name now leads inside: that hop is refused, not trusted from before.
    answers = iter([[PUBLIC], [ip_address("127.0.0.1")]])
    redirect = sends(http(status="302 Found", location="https://photos.example/again"))
    assert refusal(attacker, redirect, resolve=lambda _: next(answers)) == "private_address"


def endless_body(connection: ssl.SSLSocket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff")
    while True:
        connection.sendall(bytes(65536))


def slow(head: bytes) -> Play:
    def play(connection: ssl.SSLSocket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.01)

    return play


def endless_continues(connection: ssl.SSLSocket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


SHORT = FetchPolicy(allowed_hosts=POLICY.allowed_hosts, max_bytes=200_000, max_seconds=0.4)
LONG = replace(SHORT, max_seconds=60.0)


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (endless_body, "too_many_bytes"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"), "too_many_bytes"),
        (slow(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"), "slow"),
        (slow(b"HTTP/1.1 200 OK\r\nx: "), "slow"),
        (slow(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n"), "protocol"),
        (lambda connection: time.sleep(2), "slow"),
        (sends(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"), "headers"),
        (sends(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n"), "headers"),
        (endless_continues, "protocol"),
        (sends(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "protocol"),
        (sends(b""), "protocol"),
        (sends(http(photo())[:-10]), "protocol"),
        (sends(http(b"", "404 Not Found")), "status"),
        (sends(http(photo(), "206 Partial Content")), "status"),
        (sends(http(b"", "302 Found")), "redirect"),
        (sends(http(photo(), content_encoding="gzip")), "encoding"),
        (sends(http(b"<html>")), "not_a_photo"),
        (sends(http(b"")), "not_a_photo"),
    ],
)
def test_every_trick_of_the_server_is_refused(attacker: Attacker, play: Play, reason: str) -> None:
    # Time is short only where it is the point, so that a busy machine changes no reason.
    assert refusal(attacker, play, policy=SHORT if reason == "slow" else LONG) == reason


def test_a_certificate_of_another_name_or_authority_is_refused(attacker: Attacker) -> None:
    policy = FetchPolicy(allowed_hosts=("*",))
    assert refusal(attacker, url="https://other.example/", policy=policy) == "tls"
    with pytest.raises(FetchError) as refused:
        fetch_photo("https://photos.example/", POLICY, resolve=names(), connect=attacker.connect)
    assert refused.value.reason == "tls"


def test_a_server_without_tls_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(FetchError) as refused:
            fetch_photo(
                "https://photos.example/",
                POLICY,
                resolve=names(),
                connect=lambda _, seconds: socket.create_connection(listener.getsockname(), timeout=seconds),
            )
        thread.join()
    assert refused.value.reason == "tls"


def test_names_that_resolve_slowly_not_at_all_or_to_nothing_are_refused(attacker: Attacker) -> None:
    def never(_host: str) -> list[Address]:
        raise socket.gaierror("no such name")

    def late(_host: str) -> list[Address]:
        time.sleep(1)
        return [PUBLIC]

    assert refusal(attacker, resolve=never) == "unresolved"
    assert refusal(attacker, resolve=lambda _: []) == "unresolved"
    assert refusal(attacker, resolve=late, policy=SHORT) == "slow"


def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody else gets it, and nobody listens on it
        with pytest.raises(FetchError) as refused:
            fetch_photo(
                "https://photos.example/",
                POLICY,
                resolve=names(),
                connect=lambda _, seconds: socket.create_connection(closed.getsockname(), timeout=seconds),
            )
    assert refused.value.reason == "unreachable"
