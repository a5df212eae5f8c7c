"""What the network and SageMaker's limits do to an audit is never taken for a verdict about a bin."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import boto3
import pytest

from benchmarks.object_server import BUCKET, LISTING, Fault, ObjectServer
from binventory import serving
from binventory.audit import sources
from binventory.audit.counters import EndpointCounter, Pace, PhotoRefusedError, read_predictions
from binventory.audit.sources import Prefix
from binventory.cli import run
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


def test_count_gives_every_answer_and_the_audit_reads_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def counted(aws: Aws, names: object, photo: Path, *_: object) -> serving.EndpointAnswer:
        if photo.name == "2.jpg":
            raise Problem("The photo was not counted", "it is truncated", "see it")
        return serving.EndpointAnswer(3, {1: 0.1, 2: 0.1, 3: 0.6, 4: 0.1, 5: 0.1}, 3.0, 1.0)

    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(serving, "count", counted)
    monkeypatch.setattr(serving, "find_queue", lambda aws, names: None)
    photos = [str(tmp_path / f"{number}.jpg") for number in (1, 2, 3)]
    assert run(["count", *photos, "--json", "--output", str(tmp_path / "a.jsonl")]) == 1
    assert "it is truncated" in capsys.readouterr().out
    assert [image_id for image_id, _ in read_predictions(tmp_path / "a.jsonl")] == ["1", "3"]
