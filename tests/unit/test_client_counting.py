"""Counting through boto3: a stand-in for SageMaker's runtime forwards to the real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from binventory.client import Count, CountError, FetchError, count_photo
from tests import grey_model
from tests.serving_process import Endpoint, running

Answer = tuple[int, dict[str, str], bytes]


def aws_error(status: int, code: str, **fields: object) -> Answer:
    return status, {"x-amzn-ErrorType": code}, json.dumps({"Message": code, **fields}).encode()


class Front(ThreadingHTTPServer):
    """SageMaker's runtime: passes photos on, wraps the container's errors; `troubles` are answered first."""

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.server_url = server
        self.troubles: list[Answer] = []
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Front

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(self.path)
        status, headers, content = self.server.troubles.pop(0) if self.server.troubles else self._pass_on(body)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _pass_on(self, body: bytes) -> Answer:
        headers = {"content-type": self.headers["content-type"], "accept": self.headers["accept"]}
        response = httpx.post(f"{self.server.server_url}/invocations", content=body, headers=headers)
        if response.status_code == 200:
            return 200, {"content-type": response.headers["content-type"]}, response.content
        return aws_error(424, "ModelError", OriginalStatusCode=response.status_code, OriginalMessage=response.text)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("container")
    grey_model.write(folder / "model")
    with running(folder, folder, MODEL_PACKAGE_ARN="arn:package/3") as server:
        yield server


@pytest.fixture
def front(endpoint: Endpoint) -> Iterator[Front]:
    server = Front(endpoint.url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def runtime(front: Front) -> Any:
    create: Any = boto3.client
    return create(
        "sagemaker-runtime",
        endpoint_url=f"http://127.0.0.1:{front.server_address[1]}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bytes_and_files_are_counted(runtime: Any, front: Front, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bin"
    path.write_bytes(grey_model.photo(200, kind))
    for source in (path, path.read_bytes()):
        count = count_photo(source, endpoint="binventory-dev", runtime=runtime)
        assert isinstance(count, Count)
        assert count.count == 4 and count.package == "arn:package/3"
        assert count.probabilities[4] == max(count.probabilities.values()) and set(count.probabilities) == {
            1,
            2,
            3,
            4,
            5,
        }
    assert set(front.asked) == {"/endpoints/binventory-dev/invocations"}


def test_a_refused_photo_keeps_the_endpoints_reason(runtime: Any) -> None:
    with pytest.raises(CountError, match="neither a JPEG nor a PNG") as refused:
        count_photo(b"GIF89a", endpoint="binventory-dev", runtime=runtime)
    assert refused.value.reason == "not_jpeg_or_png"


def test_a_url_is_checked_before_anything_is_sent(runtime: Any, front: Front) -> None:
    with pytest.raises(FetchError) as refused:
        count_photo("http://169.254.169.254/latest/meta-data", endpoint="binventory-dev", runtime=runtime)
    assert refused.value.reason == "scheme" and front.asked == []


def test_a_busy_endpoint_is_asked_again_with_growing_pauses(runtime: Any, front: Front) -> None:
    full = json.dumps({"error": {"reason": "busy", "message": "64 requests are waiting"}})
    pauses: list[float] = []
    front.troubles = [
        aws_error(424, "ModelError", OriginalStatusCode=503, OriginalMessage=full),
        aws_error(503, "ServiceUnavailable"),
        aws_error(400, "ThrottlingException"),
    ]
    assert count_photo(grey_model.photo(5), endpoint="e", runtime=runtime, pause=pauses.append).count == 1
    assert pauses == [1.0, 2.0, 4.0]


def test_an_endpoint_that_stays_busy_is_given_up(runtime: Any, front: Front) -> None:
    front.troubles = [aws_error(503, "ServiceUnavailable")] * 9
    with pytest.raises(CountError) as refused:
        count_photo(grey_model.photo(5), endpoint="e", runtime=runtime, pause=lambda _: None)
    assert refused.value.reason == "busy" and len(front.asked) == 4


def test_other_errors_of_aws_are_named_and_not_repeated(runtime: Any, front: Front) -> None:
    front.troubles = [aws_error(400, "ValidationError")]
    with pytest.raises(CountError) as refused:
        count_photo(grey_model.photo(5), endpoint="absent", runtime=runtime)
    assert refused.value.reason == "ValidationError" and len(front.asked) == 1


def test_a_file_that_is_not_there_is_an_oserror(runtime: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        count_photo(tmp_path / "absent.jpg", endpoint="e", runtime=runtime)
