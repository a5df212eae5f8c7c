"""Which hosts a URL may name and which addresses they may have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

_NAT64: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
_DOCUMENTATION: Final = IPv6Network("3fff::/20")
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\.?")
_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f\\]")

_LONGEST_URL: Final = 8192

Address = IPv4Address | IPv6Address


class FetchError(Exception):
    """A URL that is not fetched, or whose answer is not taken. `reason` is a stable code, the message the cure.

    Reasons: url, scheme, credentials, host, port, not_allowed, unresolved, private_address, unreachable, tls,
    slow, protocol, headers, encoding, status, redirect, too_many_redirects, too_many_bytes, not_a_photo.
    """

    def __init__(self, reason: str, message: str, host: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.host = host
        """Of a URL that is not on the list: a redirect may have led there."""


def checked_url(url: str, allowed_hosts: Iterable[str]) -> SplitResult:
    """The parts of an https URL whose host is on the list. Raises FetchError.

    A pattern is a host, `.example.com` for everything below a domain, or `*` for every public host.
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError("url", f"the URL cannot be read: {error}") from error
    if parts.scheme != "https":
        raise FetchError("scheme", f"only https is fetched, not {parts.scheme or 'a bare name'}")
    if parts.username is not None or parts.password is not None:
        raise FetchError("credentials", "a URL with a user name or password is not fetched")
    host = (parts.hostname or "").lower()
    if not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise FetchError("host", f"{host[:100]!r} is no host name")
    if port not in (None, 443):
        raise FetchError("port", f"only port 443 is fetched from, not {port}")
    if not any(_matches(host.rstrip("."), pattern) for pattern in allowed_hosts):
        raise FetchError(
            "not_allowed", f"{host} is not on the list of hosts to fetch from; add it to allowed_hosts", host
        )
    return parts


def joined(url: str, target: str) -> str:
    """Where a redirect from `url` leads. Raises FetchError for characters that joining would silently drop."""
    _check_characters(target)
    try:
        return urljoin(url, target)
    except ValueError as error:
        raise FetchError("url", f"the URL cannot be read: {error}") from error


def _check_characters(url: str) -> None:
    if _NOT_IN_A_URL.search(url) or len(url) > _LONGEST_URL:
        raise FetchError("url", "the URL holds spaces, control characters or backslashes, or is very long")
    if not url.isascii():
        raise FetchError("url", "the URL holds characters outside ASCII; write them percent-encoded, such as %C3%A9")


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address) and "%" not in host
    except ValueError:
        return False


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower().rstrip(".")
    if pattern == "*":
        return True
    return host.endswith(pattern) if pattern.startswith(".") else host == pattern


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and so does every address it wraps."""
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    # Python's table is as old as its release; all IPv6 addresses that the internet routes are in this one network.
    routed = isinstance(address, IPv4Address) or address.ipv4_mapped is not None or address in _UNICAST
    if not routed or address in _DOCUMENTATION:
        return False
    return all(is_public(inner) for inner in _wrapped(address))


def _wrapped(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return []
    wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        wrapped.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in wrapped if inner is not None]
