"""Which URLs and addresses are fetched at all: schemes, hosts, ports, and nothing on this computer."""

from __future__ import annotations

import socket

import pytest

from binventory.client import FetchError, FetchPolicy, fetch_photo
from binventory.client.addresses import Address, checked_url, joined

POLICY = FetchPolicy(allowed_hosts=("photos.example", "moved.example", "inside.example"), max_seconds=60.0)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
    ],
)
def test_the_real_resolver_leads_nobody_to_this_machine(url: str) -> None:
    def unexpected(address: Address, _seconds: float) -> socket.socket:
        raise AssertionError(f"connected to {address}")

    with pytest.raises(FetchError) as refused:
        fetch_photo(url, FetchPolicy(allowed_hosts=("*",)), connect=unexpected)
    assert refused.value.reason in {"private_address", "unresolved"}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme"),
        ("bin.jpg", "scheme"),
        ("http://photos.example/", "scheme"),
        ("ftp://photos.example/", "scheme"),
        ("https:///bin.jpg", "host"),
        ("https://photos_example/", "host"),
        ("https://-photos.example/", "host"),
        ("https://[fe80::1%eth0]/", "host"),
        ("https://photos.example:8443/", "port"),
        ("https://photos.example:99999/", "url"),
        ("https://[::1/", "url"),
        ("https://photos.example\\@evil.example/", "url"),
        ("https://photos.example/a b", "url"),
        ("https://photos.example/\r\nx: y", "url"),
        ("https://photos.example/" + "a" * 9000, "url"),
        ("https://photos.example/b\u00fcn.jpg", "url"),
        ("https://a@photos.example/", "credentials"),
        ("https://photos.example@evil.example/", "credentials"),
        ("https://photos.example.evil.example/", "not_allowed"),
        ("https://evilphotos.example/", "not_allowed"),
    ],
)
def test_a_url_that_is_not_fetched_says_why(url: str, reason: str) -> None:
    with pytest.raises(FetchError) as refused:
        checked_url(url, POLICY.allowed_hosts)
    assert refused.value.reason == reason


@pytest.mark.parametrize("target", ["https://[::1/bin.jpg", "/a b.jpg", "//photos.example/b\u00fcn.jpg"])
def test_a_redirect_that_leads_nowhere_says_why(target: str) -> None:
    with pytest.raises(FetchError) as refused:
        joined("https://photos.example/bin.jpg", target)
    assert refused.value.reason == "url"


def test_patterns_of_hosts() -> None:
    for host, pattern, listed in [
        ("a.example.com", ".example.com", True),
        ("example.com", ".example.com", False),
        ("badexample.com", ".example.com", False),
        ("PHOTOS.example.", "photos.example", True),
        ("any.host", "*", True),
        ("photos.example", "Photos.Example.", True),
        ("a.example.com", ".EXAMPLE.com", True),
    ]:
        try:
            checked_url(f"https://{host}/", [pattern])
        except FetchError as error:
            assert error.reason == "not_allowed" and not listed
        else:
            assert listed
