"""Objects that are written without boto3: the same objects, and boto3 wherever something is not plain."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import unquote

import boto3
import pytest
from botocore.exceptions import ClientError

from binventory.core.aws import Aws
from binventory.core.quick_objects import LARGEST, QuickObjects
from binventory.rehearsal import source
from binventory.render import render_bucket

BUCKET: Final = "bins"
Fault = Callable[[str, int], int | str | None]
"""From a key and the writes of it before to a status, `cut` or `damaged`, or None where all goes well."""


class Bucket:
    """The objects that arrived, and how often each was sent."""

    def __init__(self, url: str) -> None:
        self.aws = Aws(boto3.Session("test", "test", region_name="us-east-1"), url)
        self.objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()


@contextmanager
def bucket(fault: Fault = lambda key, before: None) -> Iterator[Bucket]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            key = unquote(self.path).removeprefix(f"/{BUCKET}").removeprefix("/")
            data = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if not key:
                self._answer(200)
                return
            wrong = fault(key, found.requests[key])
            found.requests[key] += 1
            if wrong == "cut":
                self.close_connection = True
            elif isinstance(wrong, int):
                self._answer(wrong)
            else:
                found.objects[key] = data if wrong is None else data[:-1] + b"?"
                self._answer(200, hashlib.md5(found.objects[key], usedforsecurity=False).hexdigest())

        def _answer(self, status: int, etag: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if etag:
                self.send_header("ETag", f'"{etag}"')
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Bucket(f"http://127.0.0.1:{server.server_address[1]}")
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def test_a_plain_object_takes_one_request_and_no_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {"metadata/1.json": b"{}", "empty.jpg": b"", "metadata/ä %41 #1?&+.json": b"odd"}
    with bucket() as found:
        monkeypatch.delattr(type(found.aws.client("s3")), "put_object")
        quick = QuickObjects(found.aws, BUCKET)
        assert all(quick.write(key, data) for key, data in objects.items())
        assert found.objects == objects
        assert set(found.requests.values()) == {1}


@pytest.mark.parametrize("key", ["/a.jpg", "a.jpg/", "a//a.jpg", "a/../a.jpg", "./a.jpg", "a\n.jpg"])
def test_a_key_that_would_be_changed_is_left_to_boto3(key: str) -> None:
    with bucket() as found:
        quick = QuickObjects(found.aws, BUCKET)
        assert not quick.write(key, b"photo") and not found.requests
        assert quick.write("b.jpg", b"photo")


def test_a_large_object_is_left_to_boto3_which_sends_it_in_parts() -> None:
    with bucket() as found:
        assert not QuickObjects(found.aws, BUCKET).write("a.jpg", bytes(LARGEST + 1))
        assert not found.requests


@pytest.mark.parametrize("wrong", [503, "cut", "damaged"])
def test_boto3_writes_what_went_wrong_and_all_that_follows(wrong: int | str, tmp_path: Path) -> None:
    render_bucket(tmp_path, photos=20)
    files = [path for part in ("bin-images", "metadata") for path in (tmp_path / part).iterdir()]
    with bucket(lambda key, before: wrong if key == "metadata/00105.json" and not before else None) as found:
        filled = source.fill(found.aws, tmp_path, lambda done, total: None, bucket=BUCKET)
        assert found.objects == {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files}
        assert filled.files == len(files)
        assert found.requests["metadata/00105.json"] == 2


def test_a_refusal_reads_as_boto3_says_it(tmp_path: Path) -> None:
    render_bucket(tmp_path, photos=2)
    with (
        bucket(lambda key, before: 403) as found,
        pytest.raises(ClientError, match="when calling the PutObject operation: Forbidden"),
    ):
        source.fill(found.aws, tmp_path, lambda done, total: None, bucket=BUCKET)
