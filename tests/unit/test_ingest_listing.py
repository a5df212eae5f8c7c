"""Ingest reads what a listing names: no later photos, and no listing or labels that have changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from benchmarks.object_server import BUCKET, LISTING, ObjectServer, Stored, store
from bucket_listing import list_folder
from tests.unit.bin_bucket import bucket, files, jpeg, metadata
from tests.unit.bin_ingest import forget_credentials, ingest

LABELS = f"s3://{BUCKET}/labels.csv"


@pytest.fixture(autouse=True)
def anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_credentials(monkeypatch)


def listing(server: ObjectServer, folder: Path, labels: bool = False) -> Path:
    """The listing that step Fingerprint would write of the server's bucket."""
    create: Any = boto3.client
    s3 = create(
        "s3", endpoint_url=server.endpoint_url, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
    until = time.monotonic() + 60
    parts = [list_folder(s3, BUCKET, "", part, until=until).lines for part in ("bin-images/", "metadata/")]
    if labels:
        kept = server.objects["labels.csv"]
        parts.insert(1, f"{kept.size}\t{kept.etag}\tlabels\n".encode())
    return written(folder, b"".join(parts))


def written(folder: Path, lines: bytes) -> Path:
    path = folder / f"{hashlib.sha256(lines).hexdigest()}.gz"
    path.write_bytes(gzip.compress(lines, mtime=0))
    return path


def change(server: ObjectServer, **objects: bytes | None) -> None:
    """Put objects into the server's bucket, or delete them; `__` is a slash."""
    for name, body in objects.items():
        key = name.replace("__", "/").replace("bin_images", "bin-images")
        key += {"bin-images": ".jpg", "metadata": ".json"}.get(key.partition("/")[0], ".csv")
        if body is None:
            del server.objects[key]
        else:
            server.objects.update(store({key: body}))
    server.keys = sorted(server.objects)


def books(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "report" / "books.json").read_bytes())
    return found


def photos_of(output: Path) -> set[str]:
    rows = [
        json.loads(line)
        for path in (output / "report").glob("manifest-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return {row["id"] for row in rows}


def test_a_listing_gives_the_same_shards_as_the_bucket_and_lists_nothing(tmp_path: Path) -> None:
    objects = bucket()
    # Names that are no ids, and some that a listing has to encode.
    objects |= {f"bin-images/{name}": b"?" for name in ("read me.txt", "ä%20b.jpg", "x/y.jpg")}
    with ObjectServer(objects) as server:
        assert ingest(server, tmp_path / "own") == 0
        given = listing(server, tmp_path)
        server.requests.clear()
        assert ingest(server, tmp_path / "given", "--listing", str(given)) == 0
        assert server.requests[LISTING] == 0
    own, read = files(tmp_path / "own"), files(tmp_path / "given")
    assert own.keys() == read.keys()
    # The settings are in the books, and the page links to nothing else that differs.
    differing = {name for name in own if own[name] != read[name]}
    assert differing <= {"report/books.json", "report/exploration.html"}
    assert books(tmp_path / "given") | {"settings": {}} == books(tmp_path / "own") | {"settings": {}}
    assert books(tmp_path / "given")["settings"]["listing"] == str(given)


def test_what_came_later_is_left_to_the_next_execution(tmp_path: Path) -> None:
    with ObjectServer(bucket()) as server:
        first = listing(server, tmp_path)
        change(
            server,
            bin_images__00650=jpeg(650), metadata__00650=metadata(2),  # new
            bin_images__00100=jpeg(999),  # another photo
            bin_images__00101=None,  # gone
        )  # fmt: skip
        assert ingest(server, tmp_path / "first", "--listing", str(first)) == 0
        second = listing(server, tmp_path)
        assert second != first
        assert ingest(server, tmp_path / "second", "--listing", str(second)) == 0
    earlier, later = photos_of(tmp_path / "first"), photos_of(tmp_path / "second")
    assert later - earlier == {"00650", "00100"}
    assert earlier - later == set()
    assert books(tmp_path / "first")["quarantined"] == {"changed_while_reading": 1, "photo_missing": 1}


def test_photos_that_changed_do_not_end_an_ingest_that_has_to_read_them_all_first(tmp_path: Path) -> None:
    """Where ETags are no MD5 sums, every photo is read once for its own."""
    with ObjectServer(bucket()) as server:
        server.objects = {
            key: Stored(kept.body, kept.tail, kept.etag[::-1]) if key.startswith("bin-images/") else kept
            for key, kept in server.objects.items()
        }
        given = listing(server, tmp_path)
        change(server, bin_images__00203=jpeg(1, size=(80, 60)))
        assert ingest(server, tmp_path / "out", "--listing", str(given)) == 0
    assert books(tmp_path / "out")["quarantined"] == {"changed_while_reading": 1}


def test_an_overwritten_labels_file_is_read_and_never_a_later_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {f"{block}{number:02}": number % 5 + 1 for block in range(100, 106) for number in range(8)}

    def labels(shift: int) -> bytes:
        rows = [f"{name},{(count + shift - 1) % 5 + 1}\n" for name, count in counts.items()]
        return ("image_id,count\n" + "".join(rows)).encode()

    objects = {f"bin-images/{name}.jpg": jpeg(number) for number, name in enumerate(counts)}
    with ObjectServer({**objects, "labels.csv": labels(0)}) as server:
        first = listing(server, tmp_path, labels=True)
        arguments = ("--labels-uri", LABELS, "--listing")
        assert ingest(server, tmp_path / "first", *arguments, str(first)) == 0
        change(server, labels=labels(1))
        assert ingest(server, tmp_path / "refused", *arguments, str(first)) == 1
        assert f"{LABELS} is no longer what was listed; start the execution again" in capsys.readouterr().err
        second = listing(server, tmp_path, labels=True)
        assert second != first
        assert ingest(server, tmp_path / "second", *arguments, str(second)) == 0
    assert books(tmp_path / "first")["fingerprint"]["data"] != books(tmp_path / "second")["fingerprint"]["data"]


@pytest.mark.parametrize("labels", [True, False])
def test_a_listing_with_other_labels_is_refused(
    tmp_path: Path, labels: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ObjectServer({**bucket(), "labels.csv": b"image_id\n00100\n"}) as server:
        given = listing(server, tmp_path, labels=not labels)
        arguments = ("--labels-uri", LABELS) if labels else ()
        assert ingest(server, tmp_path / "out", *arguments, "--listing", str(given)) == 1
    assert f"the listing names {'no' if labels else 'a'} labels file" in capsys.readouterr().err


def test_a_damaged_listing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ObjectServer(bucket(blocks=3)) as server:
        whole = listing(server, tmp_path)
        packed = whole.read_bytes()
        other = gzip.compress(gzip.decompress(packed)[:-1], mtime=0)
        flips = [bytes([*packed[:at], packed[at] ^ 1, *packed[at + 1 :]]) for at in range(20, len(packed) - 8, 40)]
        for damaged in (other, packed[:-20], b"", b"no gzip", *flips):
            whole.write_bytes(damaged)
            assert ingest(server, tmp_path / "out", "--listing", str(whole)) == 1
            assert f"the listing {whole} is damaged" in capsys.readouterr().err


def test_a_listing_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ObjectServer(bucket(blocks=3)) as server:
        for where in (tmp_path / "expired.gz", f"s3://{BUCKET}/expired.gz"):
            assert ingest(server, tmp_path / "out", "--listing", str(where)) == 1
            assert f"the listing {where} does not exist; start the execution again" in capsys.readouterr().err
