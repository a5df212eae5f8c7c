"""What the network and SageMaker's limits do to an audit is never taken for a verdict about a bin."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import boto3
import pytest

from benchmarks.object_server import BUCKET, LISTING, Fault, ObjectServer
from binventory.audit import sources
from binventory.audit.counters import EndpointCounter, Pace, PhotoRefusedError
from binventory.audit.sources import Prefix
from binventory.client import FetchError
from binventory.client.addresses import checked_url, is_public, joined
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from tests.audited import photo_bytes, runtime


def prefix(server: ObjectServer) -> Prefix:
    return Prefix(Aws(boto3.Session("test", "test", region_name="us-east-1"), server.endpoint_url), BUCKET, "")


def test_a_cut_body_is_read_again_and_one_that_never_comes_ends_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PAUSE", 0.0)
    objects = {f"bin-images/{number}.jpg": bytes([number]) * 3000 for number in range(20)}

    def cut(key: str, before: int) -> Fault | None:
        if key == "bin-images/7.jpg":
            return Fault.DROP
        return Fault.DROP if key != LISTING and before < 2 else None

    with ObjectServer(objects, fault=cut) as server:
        store = prefix(server)
        for path, data in objects.items():
            if path != "bin-images/7.jpg":
                assert store.read(path, 10_000) == data
        assert store.read("bin-images/1.jpg", 100) == objects["bin-images/1.jpg"][:101]
        assert store.read("bin-images/none.jpg", 100) is None
        with pytest.raises(Problem, match="was not read"):
            store.read("bin-images/7.jpg", 10_000)


def test_a_photo_above_sagemakers_limit_is_refused_by_name_and_not_sent(tmp_path: Path) -> None:
    with runtime() as endpoint:
        counter = EndpointCounter(endpoint.aws, "e", Pace(None))
        with pytest.raises(PhotoRefusedError, match="SageMaker lets") as caught:
            counter.probabilities("1", photo_bytes(60) + bytes(7 * 1024 * 1024))
        assert caught.value.reason == "photo_too_large" and not endpoint.photos
        assert counter.probabilities("2", photo_bytes(60))[3] == 0.8


@pytest.mark.parametrize("url", ["https://a.example/é", "https://[zz/"])
def test_an_address_that_cannot_be_requested_is_refused_also_in_a_redirect(url: str) -> None:
    for refused in (lambda: checked_url(url, ["*"]), lambda: joined("https://a.example/", url)):
        with pytest.raises(FetchError) as caught:
            refused()
        assert caught.value.reason == "url"


@pytest.mark.parametrize(
    ("address", "public"),
    [("fec0::1", False), ("3fff::1", False), ("5f00::1", False), ("2606:4700::1", True), ("::ffff:10.0.0.1", False)],
)
def test_only_addresses_that_the_internet_routes_are_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public
