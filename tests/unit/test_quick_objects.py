"""Objects that the audit reads without boto3: the same bytes, and boto3 wherever something is not plain."""

from __future__ import annotations

from dataclasses import replace

import boto3
import pytest
from botocore.exceptions import ClientError

from benchmarks.object_server import BUCKET, Fault, ObjectServer, store
from binventory.audit import sources
from binventory.audit.sources import Prefix
from binventory.core.aws import Aws
from binventory.core.quick_objects import QuickObjects

OBJECTS = {f"metadata/{number}.json": bytes([65 + number]) * 2000 for number in range(6)}


def connected(server: ObjectServer) -> Aws:
    return Aws(boto3.Session("test", "test", region_name="us-east-1"), server.endpoint_url)


def test_a_plain_object_takes_one_request_and_no_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {**OBJECTS, "metadata/ä %41 #1?&+.json": b"odd"}
    with ObjectServer(keys) as server:
        aws = connected(server)
        monkeypatch.delattr(type(aws.client("s3")), "get_object")
        quick = QuickObjects(aws, BUCKET)
        assert {key: quick.read(key) for key in keys} == keys
        assert all(server.requests[key] == 1 for key in keys)


def test_what_is_missing_or_large_is_left_to_boto3_and_the_rest_is_not() -> None:
    with ObjectServer(OBJECTS) as server:
        quick = QuickObjects(connected(server), BUCKET)
        assert quick.read("metadata/none.json") is None
        assert quick.read("metadata/1.json", 1999) is None
        assert quick.read("metadata/1.json", 2000) == OBJECTS["metadata/1.json"]


@pytest.mark.parametrize("key", ["/a.jpg", "a.jpg/", "a//a.jpg", "a/../a.jpg", "./a.jpg", "a\n.jpg"])
def test_a_key_that_would_be_changed_is_left_to_boto3(key: str) -> None:
    """obstore reads `a.jpg` where `/a.jpg` is asked for."""
    with ObjectServer({"a.jpg": b"another photo", "b.jpg": b"photo"}) as server:
        quick = QuickObjects(connected(server), BUCKET)
        assert quick.read(key) is None and not server.requests
        assert quick.read("b.jpg") == b"photo"


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.DROP, Fault.RESET, Fault.FLIP])
def test_boto3_reads_what_went_wrong_and_all_that_follows(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PAUSE", 0.0)

    def first_of_two(key: str, before: int) -> Fault | None:
        return fault if key == "metadata/2.json" and not before else None

    with ObjectServer(OBJECTS, fault=first_of_two) as server:
        prefix = Prefix(connected(server), BUCKET, "")
        assert {key: prefix.read(key, 5000) for key in OBJECTS} == OBJECTS
        assert server.requests["metadata/2.json"] == 2
        assert prefix.quick.read("metadata/1.json") is None


def test_an_etag_that_is_no_md5_is_left_to_boto3() -> None:
    """Under KMS it looks like one; S3's answer says so to boto3, and gives the checksum that was stored."""
    key = "metadata/1.json"
    (stored,) = store({key: OBJECTS[key]}).values()
    with ObjectServer(OBJECTS) as server:
        server.objects[key] = replace(stored, etag="0" * 32)
        quick = QuickObjects(connected(server), BUCKET)
        assert quick.read(key) is None
        assert quick.read("metadata/2.json") is None, "the others are probably encrypted too"


def test_a_refusal_reads_as_boto3_says_it() -> None:
    with (
        ObjectServer(OBJECTS, fault=lambda key, before: Fault.DENY) as server,
        pytest.raises(ClientError, match="when calling the GetObject operation: Forbidden"),
    ):
        Prefix(connected(server), BUCKET, "").read("metadata/1.json", 5000)
