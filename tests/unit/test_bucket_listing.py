"""A listing is complete, sorted and the same, whichever thread lists which part."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bucket_listing
from benchmarks.object_server import BUCKET, LISTING, Fault, ObjectServer, Stored, store
from bucket_listing import THREADS, Listing, ListingTimeout, list_folder, parted

PHOTO = Stored(b"photo", b"", "0" * 32)


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with ObjectServer({}) as made:
        yield made


@pytest.fixture(scope="module")
def s3(server: ObjectServer) -> Any:
    return client(server)


def client(server: ObjectServer, attempts: int = 3) -> Any:
    create: Any = boto3.client
    return create(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": attempts}, s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="module", autouse=True)
def short_pages() -> Iterator[None]:
    """Pages of four keys, so that a few dozen are a long listing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket_listing, "PAGE", 4)
        yield


def fill(server: ObjectServer, objects: Mapping[str, Stored]) -> None:
    server.objects = dict(objects)
    server.keys = sorted(objects)
    server.requests.clear()


def listed(s3: Any, prefix: str = "", folder: str = "bin-images/", seconds: float = 60) -> Listing:
    return list_folder(s3, BUCKET, prefix, folder, until=time.monotonic() + seconds)


def expected(keys: Iterator[str] | list[str]) -> bytes:
    return "".join(f"5\t{'0' * 32}\tbin-images/{quote(key)}\n" for key in sorted(keys)).encode()


ids = st.integers(0, 20_000).map(lambda number: f"{number:05}.jpg")
words = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cc", "Cs")), min_size=1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.one_of(st.sets(ids, max_size=400), st.sets(words, max_size=60), st.sets(st.text("ab-", min_size=1))))
def test_every_key_is_listed_once_in_order(server: ObjectServer, s3: Any, keys: set[str]) -> None:
    neighbours = {"bin-imager": PHOTO, "bin-images0": PHOTO, "metadata/1.json": PHOTO}
    fill(server, {f"bin-images/{key}": PHOTO for key in keys} | neighbours)
    found = listed(s3)
    assert found.objects == len(keys)
    assert found.lines == expected(list(keys))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(ids, max_size=100), deleted=st.sets(ids, max_size=100), plain=st.booleans())
def test_where_objects_were_deleted_pages_are_short_or_empty_and_every_key_is_listed(
    server: ObjectServer, s3: Any, keys: set[str], deleted: set[str], plain: bool
) -> None:
    """S3 passes over delete markers, and counts them: a short page does not end a listing."""
    fill(server, {f"bin-images/{key}": PHOTO for key in keys - deleted})
    server.keys = sorted({*server.keys, *(f"bin-images/{key}" for key in deleted)})
    if plain:
        s3 = client(server)
        s3.meta.events.register = lambda *_, **__: None
    found = listed(s3)
    assert found.objects == len(keys - deleted)
    assert found.lines == expected(list(keys - deleted))


@given(after=st.text("abc", min_size=1), last=st.none() | st.text("abc", min_size=1), key=st.text("abc", min_size=1))
def test_parts_cover_a_range_and_do_not_overlap(after: str, last: str | None, key: str) -> None:
    if last is not None and last <= after:
        return
    parts = parted(after, last, ["a", "b", "c"])
    inside = after < key and (last is None or key <= last)
    assert sum(part.after < key and (part.last is None or key <= part.last) for part in parts) == inside


def test_pages_are_asked_for_at_once_and_few_in_vain(server: ObjectServer, s3: Any) -> None:
    fill(server, {f"bin-images/{number:06}.jpg": PHOTO for number in range(2000)})
    server.most_in_flight, server.latency = 0, 0.01
    try:
        assert listed(s3).objects == 2000
    finally:
        server.latency = 0
    assert server.most_in_flight > 8
    assert server.requests[LISTING] < 2 * 500


def test_folders_lie_below_the_prefix(server: ObjectServer, s3: Any) -> None:
    fill(server, {"site-7/bin-images/1.jpg": PHOTO, "site-70/bin-images/2.jpg": PHOTO, "bin-images/3.jpg": PHOTO})
    assert listed(s3, "site-7/").lines == expected(["1.jpg"])


def test_a_folders_own_key_is_no_object_in_it(server: ObjectServer, s3: Any) -> None:
    fill(server, {"bin-images/": Stored(b"", b"", "0" * 32), "bin-images/1.jpg": PHOTO})
    assert listed(s3).lines == expected(["1.jpg"])


def test_without_a_folder_the_prefix_may_be_a_key(server: ObjectServer, s3: Any) -> None:
    fill(server, {"labels.csv": PHOTO, "labels.csv.old": PHOTO, "label": PHOTO})
    rows = listed(s3, "labels.csv", "").lines.decode().splitlines()
    assert [row.split("\t")[2] for row in rows] == ["", ".old"]


def test_a_listing_changes_with_content_and_size(server: ObjectServer, s3: Any) -> None:
    seen = set()
    for content in (b"a", b"b", b"aa"):
        fill(server, store({"bin-images/1.jpg": content}))
        seen.add(listed(s3).lines)
    assert len(seen) == 3


def test_boto3_may_parse_the_pages_itself(server: ObjectServer, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event that hands out a page's body is no promise of boto3's."""
    keys = ["1.jpg", "2 +%.jpg", "ä.jpg", *(f"{number}.jpg" for number in range(10, 40))]
    fill(server, {f"bin-images/{key}": PHOTO for key in keys})
    taken = listed(s3)
    monkeypatch.setattr(bucket_listing, "_taken_body", lambda: None)
    plain = client(server)
    plain.meta.events.register = lambda *_, **__: None
    assert listed(plain) == taken == Listing(expected(keys), len(keys))


def test_keys_that_the_answer_encodes_are_decoded() -> None:
    page = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>
    <Contents><Key>a+b%2Bc</Key><ETag>&quot;e&quot;</ETag><Size>3</Size></Contents></ListBucketResult>"""
    assert bucket_listing.read_page(page) == ([("a b+c", "3", '"e"')], "")


def test_a_server_that_is_busy_is_asked_again(server: ObjectServer, s3: Any) -> None:
    fill(server, {f"bin-images/{number}.jpg": PHOTO for number in range(20)})
    server.fault = lambda key, before: Fault.SLOW_DOWN if before == 1 else None
    try:
        assert listed(s3).objects == 20
    finally:
        server.fault = None


def test_a_refusal_ends_the_listing(server: ObjectServer, s3: Any) -> None:
    fill(server, {f"bin-images/{number}.jpg": PHOTO for number in range(400)})
    server.fault = lambda key, before: Fault.DENY if before >= 3 else None
    try:
        with pytest.raises(ClientError, match="403"):
            listed(s3)
    finally:
        server.fault = None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]


def test_a_listing_that_takes_too_long_says_how_far_it_came(server: ObjectServer, s3: Any) -> None:
    fill(server, {f"bin-images/{number}.jpg": PHOTO for number in range(20)})
    with pytest.raises(ListingTimeout, match="only 0 objects of bin-images/ were listed in time"):
        listed(s3, seconds=-1)
