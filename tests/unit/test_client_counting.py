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

from binventory.cli import run
from binventory.client import Count, CountError, FetchError, count_photo
from tests import grey_model
from tests.audited import write_bin
from tests.serving_process import Endpoint, running

Answer = tuple[int, dict[str, str], bytes]


def aws_error(status: int, code: str, **fields: object) -> Answer:
    return status, {"x-amzn-ErrorType": code}, json.dumps({"Message": code} | fields).encode()


NO_STACK: Answer = (
    400,
    {"content-type": "text/xml"},
    b"<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id x does not exist</Message></Error>"
    b"</ErrorResponse>",
)
CUT: Answer = 200, {"content-type": "application/json", "content-length": "900"}, b'{"count": 1, "proba'
"""The connection ends in the middle of an answer."""
ABSENT: Answer = aws_error(400, "ValidationError", Message="Endpoint e of account 1 not found.")


class Front(ThreadingHTTPServer):
    """SageMaker's runtime: passes photos on, wraps the container's errors; `troubles` are answered first."""

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.server_url = server
        self.troubles: list[Answer] = []
        self.asked: list[str] = []
        self.signed_for: list[str] = []
        """Regions in the signatures of the requests."""
        self.off_after = 1_000_000
        """Requests after which somebody has turned the endpoint off."""


class Handler(BaseHTTPRequestHandler):
    server: Front

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/":  # CloudFormation
            status, headers, content = NO_STACK
        else:
            self.server.asked.append(self.path)
            self.server.signed_for.append(self.headers["authorization"].split("/")[2])
            status, headers, content = self._answer(body)
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body: bytes) -> Answer:
        if len(self.server.asked) > self.server.off_after:
            return ABSENT
        return self.server.troubles.pop(0) if self.server.troubles else self._pass_on(body)

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


def test_without_a_client_that_of_the_environment_is_taken(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def made(service: str, region_name: str | None, config: Config) -> Any:
        waits.append(config.read_timeout)  # type: ignore[attr-defined]
        return {"sagemaker-runtime": runtime}[service]

    monkeypatch.setattr(boto3, "client", made)
    assert count_photo(grey_model.photo(5), endpoint="binventory-dev").count == 1
    assert waits == [70], "SageMaker's own limit of 60 seconds must pass first"


@pytest.mark.parametrize(("named", "region"), [("eu-central-1", "eu-central-1"), ("", "us-east-1")])
def test_the_region_of_the_client_is_that_of_the_commands(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, region: str
) -> None:
    """boto3 does not read AWS_REGION: it asked the region of the profile, where another endpoint may have the name."""
    (tmp_path / "config").write_text("[default]\nregion = us-east-1\n")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_REGION", named)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{front.server_address[1]}")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    assert count_photo(grey_model.photo(5), endpoint="binventory-dev").count == 1
    assert front.signed_for == [region]


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


NO_ANSWER = "Your invocation timed out while waiting for a response from container primary."
FAULTS = {
    "the container gave no answer": aws_error(424, "ModelError", OriginalStatusCode=0, OriginalMessage=NO_ANSWER),
    "the container failed": aws_error(424, "ModelError", OriginalStatusCode=502, OriginalMessage="<html>"),
    "SageMaker failed": aws_error(500, "InternalFailure"),
    "what SageMaker needs failed": aws_error(530, "InternalDependencyException"),
    "a serverless endpoint starts": aws_error(429, "ModelNotReadyException"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_is_not_the_photos_is_waited_out(runtime: Any, front: Front, fault: Answer) -> None:
    front.troubles = [fault, fault]
    assert count_photo(grey_model.photo(5), endpoint="e", runtime=runtime, pause=lambda _: None).count == 1
    front.troubles = [fault] * 9
    with pytest.raises(CountError) as refused:
        count_photo(grey_model.photo(5), endpoint="e", runtime=runtime, pause=lambda _: None)
    assert refused.value.reason == "busy" and len(front.asked) == 3 + 4


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


def test_a_cut_answer_is_asked_for_again_and_then_given_up(runtime: Any, front: Front) -> None:
    front.troubles = [CUT, CUT]
    assert count_photo(grey_model.photo(5), endpoint="e", runtime=runtime, pause=lambda _: None).count == 1
    front.troubles = [CUT] * 9
    with pytest.raises(CountError, match="was cut") as refused:
        count_photo(grey_model.photo(5), endpoint="e", runtime=runtime, pause=lambda _: None)
    assert refused.value.reason == "connection" and len(front.asked) == 3 + 4


@pytest.mark.parametrize("answer", [b"<html>", b"[3]", b'{"count": 3}', b'{"count": 3, "probabilities": [1]}'])
def test_an_answer_of_another_server_is_no_count(runtime: Any, front: Front, answer: bytes) -> None:
    front.troubles = [(200, {"content-type": "application/json"}, answer)]
    with pytest.raises(CountError, match="is no count") as refused:
        count_photo(grey_model.photo(5), endpoint="e", runtime=runtime)
    assert refused.value.reason == "not_a_count" and len(front.asked) == 1


def test_a_photo_above_sagemakers_limit_is_not_sent(runtime: Any, front: Front) -> None:
    with pytest.raises(CountError, match="SageMaker lets 6291456") as refused:
        count_photo(bytes(6 * 1024 * 1024 + 1), endpoint="e", runtime=runtime)
    assert refused.value.reason == "too_many_bytes" and front.asked == []


@pytest.fixture
def environment(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's, with the endpoint behind the stand-in."""
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.server_address[1]}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.mark.usefixtures("environment")
def test_the_command_gives_every_answer_and_names_what_the_endpoint_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = {
        "1.jpg": grey_model.photo(5),
        "2.jpg": grey_model.photo(200)[:700],
        "3.png": grey_model.photo(250, "PNG"),
        "phone.heic": b"\0\0\0\x1cftypheic" + bytes(400),
        "large.jpg": grey_model.photo(5) + bytes(7 * 1024 * 1024),
    }
    for name, data in photos.items():
        (tmp_path / name).write_bytes(data)
    names = [str(tmp_path / name) for name in (*photos, "absent.jpg")]
    assert run(["count", *names, "--json", "--output", str(tmp_path / "a.jsonl")]) == 1
    found = {Path(name).name: answer for name, answer in json.loads(capsys.readouterr().out).items()}
    assert (found["1.jpg"]["count"], found["3.png"]["count"]) == (1, 5)
    reasons = {name: answer["error"] for name, answer in found.items() if "error" in answer}
    assert reasons.keys() == {"2.jpg", "phone.heic", "large.jpg", "absent.jpg"}
    assert "truncated" in reasons["2.jpg"]
    assert "neither a JPEG nor a PNG" in reasons["phone.heic"]
    assert "SageMaker lets 6291456" in reasons["large.jpg"]
    assert "No such file" in reasons["absent.jpg"]
    folder = tmp_path / "bins"
    for number, quantity in ((1, 1), (2, 1), (3, 4)):
        write_bin(folder, str(number), quantity)
    flags = ["--predictions", str(tmp_path / "a.jsonl"), "--output", str(tmp_path / "out")]
    assert run(["audit", str(folder), *flags]) == 0
    first, _ = [json.loads(line) for line in (tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()]
    assert first["image_id"] == "3"
    assert "truncated" in (tmp_path / "out" / "set_aside.csv").read_text()


@pytest.mark.usefixtures("environment")
def test_a_photo_that_is_named_twice_is_asked_about_once(
    tmp_path: Path, front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by `bins/*.jpg bins/1.jpg`; the answers are by name."""
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(grey_model.photo(5))
    names = [str(tmp_path / name) for name in ("1.jpg", "2.jpg", "1.jpg")]
    before = len(front.asked)
    assert run(["count", *names, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(front.asked) - before == 2


@pytest.mark.usefixtures("environment")
def test_what_was_counted_is_shown_when_the_endpoint_is_turned_off_meanwhile(
    front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after Ctrl-C. A file and JSON have all answers or none, so that nobody takes a part for the whole."""
    names = [str(tmp_path / f"{number}.jpg") for number in range(4)]
    for name in names:
        Path(name).write_bytes(grey_model.photo(250))
    for number, flags in enumerate(([], ["--json"], ["--output", str(tmp_path / "answers.jsonl")])):
        front.off_after = len(front.asked) + 2
        assert run(["count", *names, *flags]) == 3
        shown = capsys.readouterr()
        assert "There is no endpoint" in shown.err
        assert ("2 of 4 photos were asked for" in shown.out) is (number == 0)
        assert ("1.jpg" in shown.out and "2.jpg" not in shown.out) if number == 0 else not shown.out
    assert not (tmp_path / "answers.jsonl").exists()


@pytest.mark.usefixtures("environment")
def test_the_command_tells_an_absent_endpoint_from_a_request_that_is_refused(
    front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.jpg").write_bytes(grey_model.photo(5))
    front.troubles = [ABSENT]
    assert run(["count", str(tmp_path / "1.jpg")]) == 3
    assert "There is no endpoint" in capsys.readouterr().err
    front.troubles = [aws_error(400, "ValidationError", Message="Request body is not supported")]
    assert run(["count", str(tmp_path / "1.jpg")]) == 1
    said = capsys.readouterr().err
    assert "There is no endpoint" not in said and "Request body is not supported" in said


@pytest.mark.usefixtures("environment")
def test_a_folder_is_not_counted_and_its_photos_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["count", str(tmp_path)]) == 2
    assert f"name its photos, such as {tmp_path}/*.jpg; binventory audit takes a folder" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_a_file_that_is_no_photo_is_not_put_down_to_the_endpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.jpg").write_text("{}")
    assert run(["count", str(tmp_path / "1.jpg")]) == 1
    said = capsys.readouterr().err
    assert "not_jpeg_or_png" in said and "leave it out" in said and "endpoint status" not in said


def test_a_file_that_is_not_there_is_an_oserror(runtime: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        count_photo(tmp_path / "absent.jpg", endpoint="e", runtime=runtime)
