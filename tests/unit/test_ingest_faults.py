"""Ingest from S3 over HTTP, with the faults of networks and buckets. The result must be the same without them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.object_server import LISTING, Fault, FaultRule, ObjectServer, Stored
from ingest import launch
from ingestion import source as source_module
from ingestion import store
from ingestion.source import BinSource, SourceError
from tests.unit.bin_bucket import bucket, files, jpeg, metadata, write
from tests.unit.bin_ingest import PHOTOS, forget_credentials, ingest


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts as short as a local server allows, and no credentials: the bucket is public."""
    monkeypatch.setattr(source_module, "_FIRST_PAUSE", 0.001)
    forget_credentials(monkeypatch)


def manifests(output: Path) -> dict[str, bytes]:
    """The part of the manifests that faults must not change: everything but the name of the source."""
    return {name: data for name, data in files(output).items() if not name.endswith(("books.json", ".html"))}


FAULTS = st.sampled_from([Fault.SLOW_DOWN, Fault.DROP, Fault.RESET, Fault.FLIP])


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.tuples(st.integers(0, 95), st.integers(0, 2)), FAULTS, max_size=60))
def test_faults_cost_time_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, faults: dict[tuple[int, int], Fault]
) -> None:
    folder = tmp_path_factory.mktemp("faults")
    objects = bucket()
    keys = sorted(objects)
    with ObjectServer(objects) as server:
        assert ingest(server, folder / "clean") == 0

    def rule(key: str, before: int) -> Fault | None:
        return faults.get((keys.index(key), before)) if key in objects else None

    with ObjectServer(objects, fault=rule) as server:
        assert ingest(server, folder / "out") == 0
    assert manifests(folder / "out") == manifests(folder / "clean")


def test_a_folder_and_a_bucket_give_the_same_shards(tmp_path: Path) -> None:
    objects = bucket()
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path / "bucket") == 0
    photos = str(write(tmp_path / "in", objects))
    assert launch(["--photos-uri", photos, "--output", str(tmp_path / "folder")]) == 0
    assert manifests(tmp_path / "bucket") == manifests(tmp_path / "folder")


def throttled(most: int) -> tuple[ObjectServer, Callable[[], int]]:
    """A server that refuses more than `most` requests at the same time, and the number of its refusals."""
    refused = 0

    def rule(_: str, __: int) -> Fault | None:
        nonlocal refused
        if server.in_flight < most:
            return None
        refused += 1
        return Fault.SLOW_DOWN

    server = ObjectServer(bucket(blocks=10, photos=20), latency=0.01, fault=rule)
    return server, lambda: refused


def test_concurrency_follows_throttling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, refused = throttled(8)
    with server, caplog.at_level("INFO"):
        assert ingest(server, tmp_path) == 0
    assert refused() > 0 and "slow-downs" in caplog.text
    # Of some 400 requests only the first bursts and an occasional probe upwards are refused.
    assert refused() < 200
    assert json.loads((tmp_path / "report/books.json").read_bytes())["kept"] == 200


def test_an_outage_fails_the_job_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = bucket(blocks=8, photos=10)
    monkeypatch.setattr(source_module, "_LONGEST_PAUSE", 0.01)

    def down(key: str, _: int) -> Fault | None:
        return Fault.SLOW_DOWN if key == "bin-images/00805.jpg" else None

    with ObjectServer(objects, fault=down) as server:
        assert ingest(server, tmp_path / "out", "--shard-photos", "10") == 1
    assert "failed 10 times" in (said := capsys.readouterr().err) and "503" in said and "run again" in said
    finished = {path.stem for path in (tmp_path / "out/report/units").glob("*.json")}
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path / "out", "--shard-photos", "10") == 0
        # The probe of the listing's tags aside, photos of finished shards are not read again.
        read = {key[11:16] for key in server.requests if key.startswith("bin-images/")}
    done = {
        json.loads(line)["id"] for unit in finished for line in (tmp_path / f"out/report/manifest-{unit}.jsonl").open()
    }
    assert len(read & done) <= 3
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path / "clean", "--shard-photos", "10") == 0
    assert files(tmp_path / "out") == files(tmp_path / "clean")


@pytest.mark.parametrize(("fault", "message"), [(Fault.DENY, "s3:GetObject"), (Fault.FLIP, "--ignore-etags")])
def test_what_never_heals_stops_the_job_with_its_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Fault, message: str
) -> None:
    def rule(key: str, _: int) -> Fault | None:
        return fault if key == "bin-images/00304.jpg" else None

    with ObjectServer(bucket(), fault=rule) as server:
        assert ingest(server, tmp_path) == 1
    assert message in capsys.readouterr().err


def test_a_missing_bucket_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ObjectServer({}) as server:
        assert ingest(server, tmp_path) == 1
    assert "lists no photo" in capsys.readouterr().err


def test_photos_that_vanish_or_change_after_the_listing_are_quarantined(tmp_path: Path) -> None:
    objects = bucket()
    gone, changed = "bin-images/00204.jpg", "bin-images/00301.jpg"
    # S3 has no range of an object without bytes.
    emptied = "bin-images/00402.jpg", "metadata/00503.json"

    def meddle(key: str, _: int) -> Fault | None:
        if key != LISTING:
            server.objects.pop(gone, None)
            server.objects[changed] = Stored(b"", jpeg(777), "0" * 32)
            server.objects.update(dict.fromkeys(emptied, Stored(b"", b"", hashlib.md5(b"").hexdigest())))
        return None

    with ObjectServer(objects, fault=meddle) as server:
        assert ingest(server, tmp_path) == 0
    rows = [json.loads(line) for path in (tmp_path / "report").glob("quarantine-*") for line in path.open()]
    assert {row["id"]: row["reason"] for row in rows} == {
        "00204": "photo_missing",
        **dict.fromkeys(("00301", "00402", "00503"), "changed_while_reading"),
    }


def test_twins_are_found_where_tags_are_not_content_sums(tmp_path: Path) -> None:
    """As in a bucket encrypted with KMS: objects have different ETags even if their contents are equal."""
    stored: dict[str, Stored] = {}
    for number, (key, data) in enumerate(sorted(bucket(blocks=10, photos=4).items())):
        tag = hashlib.sha256(key.encode()).hexdigest()[:32]
        # The last ten of forty photos are the first ten again.
        stored[key] = Stored(jpeg(number % 30) if key.startswith("bin-images/") else data, b"", tag)
    with ObjectServer(stored) as server:
        assert ingest(server, tmp_path) == 0
    lines = [json.loads(line) for path in (tmp_path / "report").glob("manifest-*") for line in path.open()]
    splits: dict[str, set[str]] = {}
    for row in lines:
        splits.setdefault(row["source"]["md5"], set()).add(row["split"])
    assert len(splits) == 30 and all(len(found) == 1 for found in splits.values())
    assert 30 <= len(lines) < 40


def test_etags_that_are_partly_no_content_sums_can_be_ignored(tmp_path: Path) -> None:
    objects = bucket()
    mixed: dict[str, bytes | Stored] = {**objects}
    mixed["bin-images/00304.jpg"] = Stored(objects["bin-images/00304.jpg"], b"", "0" * 32)
    with ObjectServer(mixed) as server:
        assert ingest(server, tmp_path / "trusting") == 1
        assert ingest(server, tmp_path / "out", "--ignore-etags") == 0
    assert json.loads((tmp_path / "out/report/books.json").read_bytes())["kept"] == 48


def test_a_limit_reads_only_the_metadata_it_needs(tmp_path: Path) -> None:
    objects = bucket(blocks=100, photos=1)
    photo = objects["bin-images/00100.jpg"]
    for number in range(1, 1900):
        # Decoders ignore what follows the end of a JPEG; here it keeps the contents apart.
        objects[f"bin-images/{20_000 + number}.jpg"] = photo + number.to_bytes(4, "big")
        objects[f"metadata/{20_000 + number}.json"] = metadata(number % 5 + 1)
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path, "--limit-per-class", "20", "--concurrency", "16") == 0
        asked = {kind: sum(key.startswith(kind) for key in server.requests) for kind in ("metadata/", "bin-images/")}
    books = json.loads((tmp_path / "report/books.json").read_bytes())
    assert books["kept"] == 100 and books["listed"] == 1999
    # A fifth of the photos is of each class, so about 100 records fill all five; 2,000 lie there.
    assert 100 <= asked["metadata/"] <= 250
    assert 100 <= asked["bin-images/"] <= 103
    assert books["skipped"]["not_sampled"] >= 1700


def test_memory_in_flight_is_bounded(tmp_path: Path) -> None:
    with ObjectServer(bucket(blocks=10, photos=10), latency=0.005) as server:
        assert ingest(server, tmp_path, "--concurrency", "7") == 0
        assert server.most_in_flight <= 7


def listed(server: ObjectServer) -> list[str]:
    """The listing of the server's bucket by the source."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        return [entry.name for entry in asyncio.run(BinSource(PHOTOS).list_photos())]


NAMES = st.text("0129.ajz", min_size=1, max_size=7).map(lambda text: f"{text}.jpg")
NUMBERS = st.integers(0, 999).flatmap(lambda low: st.integers(low, low + 200)) | st.integers(0, 10**10)


STRANGE = ("00204//x.jpg", "./x.jpg", "../x.jpg", "00301\tx.jpg", "00302\nx.jpg", "//", "#1?.jpg", "%2e.jpg", "é+ .jpg")


@pytest.mark.parametrize("page", [1000, 3])
def test_keys_that_the_client_refuses_are_set_aside_and_folders_are_no_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(source_module, "_PAGE", page)
    objects = bucket(photos=4)
    strange = {f"bin-images/{name}": jpeg(900 + number) for number, name in enumerate(STRANGE)}
    markers = {"bin-images/": b"", "bin-images/archive/": b"", "metadata/": b""}
    with ObjectServer({**objects, **strange, **markers}) as server:
        assert ingest(server, tmp_path) == 0
    rows = [json.loads(line) for path in (tmp_path / "report").glob("quarantine-*") for line in path.open()]
    assert {row["id"]: row["reason"] for row in rows} == dict.fromkeys(strange, "unexpected_name")
    assert json.loads((tmp_path / "report/books.json").read_bytes())["kept"] == 24


@pytest.mark.parametrize("prefix", ["?x=1", "a#b", "a b/ü?", "%41"])
def test_an_address_names_a_key_to_its_last_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    right, wrong = bucket(photos=3), bucket(photos=4)
    labels = "image_id,count\n" + "".join(f"{number}00,{1 + 3 * (number - 1) % 5}\n" for number in range(1, 7))
    objects = {
        **wrong,
        **{f"{prefix}/{key}": data for key, data in right.items()},
        f"{prefix}/l?#.csv": labels.encode(),
    }
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path / "photos", "--photos-uri", f"{PHOTOS}{prefix}/") == 0
        assert ingest(server, tmp_path / "labels", "--labels-uri", f"{PHOTOS}{prefix}/l?#.csv") == 1
        assert "6 photo_missing (100: the source has no photo 100, but 00100" in capsys.readouterr().err
        assert ingest(server, tmp_path / "none", "--photos-uri", f"{PHOTOS}{prefix}-/") == 1
    assert json.loads((tmp_path / "photos/report/books.json").read_bytes())["kept"] == 18


@pytest.mark.parametrize("prefix", ["a//b", "a/../b", "a\tb"])
def test_a_prefix_that_cannot_be_read_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    with ObjectServer(bucket()) as server:
        assert ingest(server, tmp_path, "--photos-uri", f"{PHOTOS}{prefix}/") == 1
        assert ingest(server, tmp_path, "--labels-uri", f"{PHOTOS}a\tb.csv") == 1
        assert sum(server.requests.values()) == 0
    said = capsys.readouterr().err
    assert "cannot be read" in said and "network" not in said


def test_names_of_files_that_are_no_text_are_set_aside(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", bucket())
    (folder / os.fsdecode(b"bin-images/\xff\n.jpg")).write_bytes(b"x")
    (folder / "bin-images/0\t1.jpg").write_bytes(b"x")
    assert launch(["--photos-uri", f"file://{folder}", "--output", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for path in (tmp_path / "out/report").glob("quarantine-*") for line in path.open()]
    assert sorted(row["id"] for row in rows) == ["bin-images/0\t1.jpg", "bin-images/\\xff\n.jpg"]


@settings(max_examples=50, deadline=None)
@given(
    st.sets(NAMES, max_size=60)
    | st.sets(st.builds("{:0{}}.jpg".format, NUMBERS, st.sampled_from([1, 5])), max_size=99),
    st.integers(1, 9),
    st.sets(st.integers(0, 30), max_size=5),
)
def test_whatever_the_names_every_one_is_listed_once_and_in_order(names: set[str], page: int, broken: set[int]) -> None:
    objects = {f"bin-images/{name}": b"x" for name in names}

    def rule(_: str, before: int) -> Fault | None:
        return Fault.RESET if before in broken else None

    with ObjectServer(objects, fault=rule) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_module, "_PAGE", page)
        patch.setattr(source_module, "_FIRST_PAUSE", 0.001)
        assert listed(server) == sorted(names)


@pytest.mark.parametrize("strange", [[], ["a//b.jpg"]], ids=["plain", "a key for boto3"])
def test_a_listing_goes_on_behind_deleted_objects(monkeypatch: pytest.MonkeyPatch, strange: list[str]) -> None:
    """S3 passes over them, so a page may have few keys or none although more follow."""
    monkeypatch.setattr(source_module, "_PAGE", 4)
    names = sorted([*strange, *(f"{number:05}.jpg" for number in range(0, 90, 3))])
    with ObjectServer(dict.fromkeys((f"bin-images/{name}" for name in names), b"x")) as server:
        server.keys = sorted({*server.keys, *(f"bin-images/{number:05}.jpg" for number in range(90) if number < 40)})
        assert listed(server) == names


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET])
def test_a_long_listing_takes_few_turns_and_a_fault_costs_one_request(fault: Fault) -> None:
    names = [f"{number:05}.jpg" for number in range(0, 100_000, 7)]
    objects = dict.fromkeys((f"bin-images/{name}" for name in names), b"x")
    with ObjectServer(objects, latency=0.05) as server:
        assert listed(server) == names
        asked = server.requests[LISTING]
        # Fifteen full pages are there; ten parts at once end in a page each that is not full.
        assert 15 <= asked <= 25 and server.most_in_flight >= 8

    def rule(_: str, before: int) -> Fault | None:
        return fault if before in (1, 3) else None

    with ObjectServer(objects, fault=rule) as server:
        assert listed(server) == names
        assert server.requests[LISTING] == asked + 2


def test_ids_without_gaps_are_listed_with_few_pages_that_are_not_full() -> None:
    names = [f"{number:05}.jpg" for number in range(1, 30_001)]
    with ObjectServer(dict.fromkeys((f"bin-images/{name}" for name in names), b"x")) as server:
        assert listed(server) == names
        # Thirty full pages, and ten that find where ids end.
        assert server.requests[LISTING] <= 45


async def read_first() -> bytes | None:
    """The first photo of the bucket."""
    source = BinSource(PHOTOS)
    return await source.photo((await source.list_photos())[0])


def test_a_stalled_request_is_given_up_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_TIMEOUT", "300ms")
    objects = {"bin-images/1.jpg": b"abc", "metadata/1.json": metadata(1)}
    rule: FaultRule = lambda key, before: Fault.STALL if before == 0 else None  # noqa: E731
    with ObjectServer(objects, fault=rule) as server:
        os.environ["AWS_ENDPOINT_URL"] = server.endpoint_url
        try:
            assert asyncio.run(read_first()) == b"abc"
        finally:
            del os.environ["AWS_ENDPOINT_URL"]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 6), st.integers(300_000, 3_000_000))
def test_a_large_download_goes_on_where_the_connection_dropped(drops: int, size: int) -> None:
    """Half of each request arrives, so a drop costs only the last chunk."""
    data = os.urandom(size)
    rule: FaultRule = lambda key, before: Fault.DROP if key != LISTING and before < drops else None  # noqa: E731
    with ObjectServer({"bin-images/1.jpg": data}, fault=rule) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        patch.setattr(source_module, "_FIRST_PAUSE", 0.001)
        assert asyncio.run(read_first()) == data
        assert server.requests["bin-images/1.jpg"] == drops + 1
        assert server.sent["bin-images/1.jpg"] <= size + drops * 2 * source_module._CHUNK


def test_a_photo_that_is_replaced_while_its_download_is_interrupted_is_not_pieced_together(tmp_path: Path) -> None:
    objects = bucket()
    key, old = "bin-images/00204.jpg", jpeg(1)
    old += bytes(400_000 - len(old))

    def meddle(asked: str, before: int) -> Fault | None:
        if asked != key or before > 0:
            return None
        server.objects[key] = Stored(old[:-1] + b"x", b"", "0" * 32)
        return Fault.DROP

    with ObjectServer(objects | {key: old}, fault=meddle) as server:
        assert ingest(server, tmp_path) == 0
    rows = [json.loads(line) for path in (tmp_path / "report").glob("quarantine-*") for line in path.open()]
    assert {row["id"]: row["reason"] for row in rows} == {"00204": "changed_while_reading"}


def test_an_endpoint_that_does_not_answer_names_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(source_module, "_LONGEST_PAUSE", 0.001)
    with pytest.raises(SourceError, match="Check the network and the endpoint"):
        asyncio.run(BinSource(PHOTOS).list_photos())
