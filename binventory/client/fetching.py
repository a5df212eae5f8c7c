"""Fetches a photo from a URL that may come from an untrusted person.

The endpoint has no network, so a URL is fetched here, on the caller's side: https to listed hosts
only, every name resolved once and the connection made to exactly the address that was checked, every redirect
treated as a new URL, and bytes, headers and total time capped.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult

import h11

from binventory.client.addresses import Address, FetchError, checked_url, is_public, joined

DATASET_HOSTS: Final = ("aft-vbi-pds.s3.amazonaws.com", "aft-vbi-pds.s3.us-east-1.amazonaws.com")
_SIGNATURES: Final = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_REDIRECTS: Final = {301, 302, 303, 307, 308}
_MOST_INFORMATIONAL: Final = 5
# Small steps while headers arrive, so that their cap is not overrun by what one read brings.
_READ_HEADERS: Final = 1024
_READ_BODY: Final = 64 * 1024

Resolve = Callable[[str], Sequence[Address]]
Connect = Callable[[Address, float], socket.socket]


@dataclass(frozen=True)
class FetchPolicy:
    """Limits of a fetch. Times in seconds, over the whole fetch with its redirects."""

    allowed_hosts: tuple[str, ...] = DATASET_HOSTS
    max_bytes: int = 16 * 1024 * 1024
    max_header_bytes: int = 16 * 1024
    max_seconds: float = 10.0
    max_redirects: int = 3


@dataclass(frozen=True)
class Fetched:
    """A photo, the content type its first bytes show, and the URL that gave it in the end."""

    photo: bytes
    content_type: str
    url: str


def resolve(host: str) -> list[Address]:
    """Every address of a host, by the system's resolver."""
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def connect(address: Address, seconds: float) -> socket.socket:
    """A TCP connection to port 443 of exactly this address; no proxy, no second look-up."""
    return socket.create_connection((str(address), 443), timeout=seconds)


def fetch_photo(
    url: str,
    policy: FetchPolicy | None = None,
    *,
    resolve: Resolve = resolve,
    connect: Connect = connect,
    tls: ssl.SSLContext | None = None,
) -> Fetched:
    """The JPEG or PNG behind an https URL. Raises FetchError with its reason for anything else."""
    fetch = _Fetch(policy or FetchPolicy(), resolve, connect, tls or ssl.create_default_context())
    return fetch.follow(url)


@dataclass
class _Fetch:
    policy: FetchPolicy
    resolve: Resolve
    connect: Connect
    tls: ssl.SSLContext
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.policy.max_seconds

    def follow(self, url: str) -> Fetched:
        for _ in range(self.policy.max_redirects + 1):
            parts = checked_url(url, self.policy.allowed_hosts)
            answer = self._get(parts)
            if isinstance(answer, bytes):
                return Fetched(answer, _content_type(answer), url)
            url = joined(url, answer.target)
        raise FetchError("too_many_redirects", f"the URL redirects more than {self.policy.max_redirects} times")

    def remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise FetchError("slow", f"the photo did not arrive within {self.policy.max_seconds:g} seconds")
        return left

    def _get(self, parts: SplitResult) -> bytes | _Redirect:
        host = parts.hostname or ""
        address = self._public_address(host)
        try:
            with self.connect(address, self.remaining()) as plain:
                plain.settimeout(self.remaining())
                # The certificate must be the name's: the address is only where the name led.
                with self.tls.wrap_socket(plain, server_hostname=host.rstrip(".")) as connection:
                    return _Exchange(self, connection).get(parts)
        except ssl.SSLCertVerificationError as error:
            raise FetchError("tls", f"{host}'s certificate is not valid: {error.verify_message}") from error
        except TimeoutError as error:
            raise FetchError("slow", f"{host} did not answer in time") from error
        except ssl.SSLError as error:
            raise FetchError("tls", f"{host} does not speak TLS properly: {error.reason}") from error
        except OSError as error:
            raise FetchError("unreachable", f"{host} cannot be reached: {error.strerror or error}") from error

    def _public_address(self, host: str) -> Address:
        """One address of the host; refuses the host when any of its addresses is not public."""
        # The system's resolver knows no deadline, so it is waited for from outside.
        waiting = ThreadPoolExecutor(1, thread_name_prefix="resolve")
        try:
            addresses = waiting.submit(self.resolve, host).result(timeout=self.remaining())
        except TimeoutError as error:
            raise FetchError("slow", f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise FetchError("unresolved", f"the name {host} has no address") from error
        finally:
            waiting.shutdown(wait=False)
        if not addresses:
            raise FetchError("unresolved", f"the name {host} has no address")
        for address in addresses:
            if not is_public(address):
                raise FetchError("private_address", f"{host} leads to {address}, which is not a public address")
        return addresses[0]


@dataclass(frozen=True)
class _Redirect:
    target: str


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(self, fetch: _Fetch, connection: ssl.SSLSocket) -> None:
        self._fetch = fetch
        self._connection = connection
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=fetch.policy.max_header_bytes)

    def get(self, parts: SplitResult) -> bytes | _Redirect:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = [
            ("host", parts.netloc),
            ("user-agent", "binventory"),
            ("accept", "image/jpeg, image/png"),
            ("accept-encoding", "identity"),
            ("connection", "close"),
        ]
        request = h11.Request(method="GET", target=target, headers=headers)
        self._connection.settimeout(self._fetch.remaining())
        self._connection.sendall((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        return self._answer()

    def _answer(self) -> bytes | _Redirect:
        response = self._response()
        fields = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        if response.status_code in _REDIRECTS:
            if "location" not in fields:
                raise FetchError("redirect", "the server redirects without saying where to")
            return _Redirect(fields["location"])
        if response.status_code != 200:
            raise FetchError("status", f"the server answered {response.status_code}, not with a photo")
        if fields.get("content-encoding", "identity").lower() != "identity":
            raise FetchError("encoding", "the server compressed the photo although the request forbids it")
        length = fields.get("content-length", "0")
        if length.isdecimal() and int(length) > self._fetch.policy.max_bytes:
            raise self._too_large()
        return self._body()

    def _response(self) -> h11.Response:
        for _ in range(_MOST_INFORMATIONAL + 1):
            event = self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                break
        raise FetchError("protocol", "the server sends no final answer")

    def _body(self) -> bytes:
        parts: list[bytes] = []
        held = 0
        while isinstance(event := self._event(_READ_BODY), h11.Data):
            held += len(event.data)
            if held > self._fetch.policy.max_bytes:
                raise self._too_large()
            parts.append(bytes(event.data))
        return b"".join(parts)

    def _too_large(self) -> FetchError:
        return FetchError("too_many_bytes", f"the photo has more than {self._fetch.policy.max_bytes} bytes")

    def _event(self, step: int = _READ_HEADERS) -> h11.Event | type[h11.PAUSED] | type[h11.NEED_DATA]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._connection.settimeout(self._fetch.remaining())
                self._http.receive_data(self._connection.recv(step))
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                allowed = self._fetch.policy.max_header_bytes
                raise FetchError("headers", f"the server's headers have more than {allowed} bytes") from error
            raise FetchError("protocol", f"the server does not speak HTTP properly: {error}") from error
        return event


def _content_type(photo: bytes) -> str:
    for signature, content_type in _SIGNATURES.items():
        if photo.startswith(signature):
            return content_type
    raise FetchError("not_a_photo", "what the URL gave is neither a JPEG nor a PNG")
