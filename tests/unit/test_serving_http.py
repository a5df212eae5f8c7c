"""The endpoint over HTTP: the real server process."""

from __future__ import annotations

import base64
import csv
import io
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from local_aws.core.host import free_port
from tests import grey_model
from tests.hostile_photos import jpeg_of_scans
from tests.serving_process import SERVER, Endpoint, listening, running, wait_until


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("container")
    grey_model.write(folder / "model")
    return folder


@pytest.fixture(scope="module")
def endpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(tmp_path_factory.mktemp("logs"), base, MODEL_PACKAGE_ARN="arn:aws:sagemaker:package/7") as server:
        yield server


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# What a grey level counts as, from grey_model's centres.
LEVELS = {5: 1, 70: 2, 120: 3, 200: 4, 250: 5}


def test_ping_answers(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.url}/ping").status_code == 200


@pytest.mark.parametrize(("level", "count"), LEVELS.items())
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_is_counted(endpoint: Endpoint, level: int, count: int, kind: str) -> None:
    answer = endpoint.post(grey_model.photo(level, kind), f"image/{kind.lower()}").json()
    assert answer["count"] == count
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert max(answer["probabilities"], key=answer["probabilities"].get) == str(count)
    assert abs(answer["expected_count"] - count) < 1
    assert answer["model"]["package"] == "arn:aws:sagemaker:package/7"
    assert set(answer["latency_ms"]) == {"decode", "queue", "model"}


def test_the_declared_image_type_does_not_matter_the_bytes_do(endpoint: Endpoint) -> None:
    assert endpoint.post(grey_model.photo(200, "PNG"), "image/jpeg").json()["count"] == 4


def test_pixels_are_counted_like_the_photo_they_came_from(endpoint: Endpoint, abid: Path) -> None:
    data = (abid / "bin-images" / "00200.jpg").read_bytes()
    pixels = io.BytesIO()
    np.save(pixels, np.asarray(Image.open(io.BytesIO(data))))
    by_pixels = endpoint.post(pixels.getvalue(), "application/x-npy").json()
    assert by_pixels["probabilities"] == endpoint.post(data, "image/jpeg").json()["probabilities"]


def test_a_json_photo_is_counted(endpoint: Endpoint) -> None:
    body = json.dumps({"photo": in_base64(grey_model.photo(70))}).encode()
    assert endpoint.post(body, "application/json; charset=utf-8").json()["count"] == 2


def batches() -> dict[str, bytes]:
    photos = [grey_model.photo(level) for level in LEVELS]
    pixels = io.BytesIO()
    np.save(pixels, np.stack([np.full((240, 320, 3), level, dtype=np.uint8) for level in LEVELS]))
    return {
        "application/json": json.dumps({"photos": [in_base64(photo) for photo in photos]}).encode(),
        "application/jsonlines": b"\n".join(json.dumps({"photo": in_base64(photo)}).encode() for photo in photos),
        "application/x-npy": pixels.getvalue(),
    }


@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines", "application/x-npy"])
def test_a_batch_is_counted_in_order(endpoint: Endpoint, content_type: str) -> None:
    answer = endpoint.post(batches()[content_type], content_type).json()
    assert [prediction["count"] for prediction in answer["predictions"]] == list(LEVELS.values())


def test_more_photos_than_one_micro_batch_are_counted(endpoint: Endpoint) -> None:
    levels = [5, 250] * 32
    body = json.dumps({"photos": [in_base64(grey_model.photo(level, size=(64, 64))) for level in levels]}).encode()
    predictions = endpoint.post(body, "application/json").json()["predictions"]
    assert [prediction["count"] for prediction in predictions] == [1, 5] * 32


def test_one_bad_photo_leaves_the_rest_of_its_batch_answered(endpoint: Endpoint) -> None:
    body = json.dumps(
        {"photos": [in_base64(grey_model.photo(5)), in_base64(b"GIF89a"), in_base64(grey_model.photo(250))]}
    ).encode()
    first, bad, last = endpoint.post(body, "application/json").json()["predictions"]
    assert (first["count"], last["count"]) == (1, 5)
    assert bad["error"]["reason"] == "not_jpeg_or_png"


def test_what_cannot_be_read_is_refused_in_its_place(endpoint: Endpoint) -> None:
    photo = base64.encodebytes(grey_model.photo(5)).decode()
    lines = [json.dumps({"photo": photo}), '{"photo": "***"}', "{broken", json.dumps({"photo": photo})]
    for body, kind in (
        (json.dumps({"photos": [photo, "***", 5, photo]}), "application/json"),
        ("\n".join(lines), "application/jsonlines"),
    ):
        predictions = endpoint.post(body.encode(), kind).json()["predictions"]
        assert [prediction.get("count") for prediction in predictions] == [1, None, None, 1]
        assert predictions[1]["error"]["reason"] == "base64" and predictions[2]["error"]["message"]


def test_photos_that_are_decoded_in_turn_are_counted_in_their_place(endpoint: Endpoint) -> None:
    large, small = grey_model.photo(250, "PNG", (2000, 1600)), grey_model.photo(5)
    body = json.dumps({"photos": [in_base64(photo) for photo in (large, small, large)]}).encode()
    predictions = endpoint.post(body, "application/json").json()["predictions"]
    assert [prediction["count"] for prediction in predictions] == [5, 1, 5]
    pixels = npy(np.full((1500, 1600, 3), 120, dtype=np.uint8))
    assert endpoint.post(pixels, "application/x-npy").json()["count"] == 3


def test_json_lines_out(endpoint: Endpoint) -> None:
    response = endpoint.post(batches()["application/json"], "application/json", accept="application/jsonlines")
    assert response.headers["content-type"] == "application/jsonlines"
    assert [json.loads(line)["count"] for line in response.text.splitlines()] == list(LEVELS.values())


def test_csv_out(endpoint: Endpoint) -> None:
    body = json.dumps({"photos": [in_base64(grey_model.photo(5)), in_base64(b"no")]}).encode()
    response = endpoint.post(body, "application/json", accept="text/csv; header=present")
    counted, refused = csv.DictReader(io.StringIO(response.text))
    assert counted["count"] == "1" and float(counted["probability_1"]) > 0.5 and counted["error"] == ""
    assert refused["count"] == "" and refused["error"] == "not_jpeg_or_png"
    bare = endpoint.post(body, "application/json", accept="text/csv").text
    assert bare == response.text.split("\n", 1)[1]


def test_accept_follows_the_clients_preference(endpoint: Endpoint) -> None:
    for accept, media_type in [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv;q=0.2, application/json;q=0.9", "application/json"),
        ("application/xml, text/csv", "text/csv"),
        ("application/x-ndjson", "application/jsonlines"),
    ]:
        response = endpoint.post(grey_model.photo(5), "image/jpeg", accept=accept)
        assert response.headers["content-type"] == media_type, accept


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


ZEROS = np.zeros((64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"", "image/jpeg", 400, "empty"),
        (b"not a photo", "image/jpeg", 400, "not_jpeg_or_png"),
        (grey_model.photo(5)[:-200], "image/jpeg", 400, "unreadable"),
        (grey_model.photo(5, size=(1, 1)), "image/jpeg", 400, "too_small"),
        (grey_model.photo(5), "image/gif", 415, "content_type"),
        (grey_model.photo(5), "", 415, "content_type"),
        (b'{"url": "http://169.254.169.254/latest/meta-data"}', "application/json", 415, "url"),
        (b'{"photo": 5}', "application/json", 400, "base64"),
        (b'{"photo": "***"}', "application/json", 400, "base64"),
        (b'{"photo": "\xc3\xa9"}', "application/json", 400, "base64"),
        (b'{"photos": "AAAA"}', "application/json", 400, "json"),
        (b'{"photos": []}', "application/json", 400, "no_photos"),
        (b'{"photos": [""]}', "application/json", 400, "empty"),
        (json.dumps({"photos": [""] * 65}).encode(), "application/json", 413, "too_many_photos"),
        (b'{"photo": ""}\n' * 65, "application/jsonlines", 413, "too_many_photos"),
        (b"\n", "application/jsonlines", 400, "no_photos"),
        (b"[1]", "application/json", 400, "json"),
        (b"[" * 100_000, "application/json", 400, "json"),
        (b"\xff\xfe", "application/json", 400, "json"),
        (b"\x93NUMPY", "application/x-npy", 400, "npy"),
        (npy(ZEROS)[:-1], "application/x-npy", 400, "npy"),
        (npy(ZEROS.astype(np.float32)), "application/x-npy", 400, "npy"),
        (npy(np.asfortranarray(np.zeros((64, 65, 3), dtype=np.uint8))), "application/x-npy", 400, "npy"),
        (npy(np.array([{"a": 1}], dtype=object)), "application/x-npy", 400, "npy"),
        (npy(ZEROS[:, :, :2]), "application/x-npy", 400, "npy"),
        (npy(ZEROS[None]).replace(b"(1,", b"(True,"), "application/x-npy", 400, "npy"),
        (npy(np.zeros((0, 64, 64, 3), dtype=np.uint8)), "application/x-npy", 400, "npy"),
        (npy(np.zeros((65, 1, 1, 3), dtype=np.uint8)), "application/x-npy", 413, "too_many_photos"),
        (npy(np.zeros((1, 1, 3), dtype=np.uint8)), "application/x-npy", 400, "too_small"),
        (npy(np.zeros((40, 4000, 3), dtype=np.uint8)), "application/x-npy", 400, "aspect_ratio"),
        # Made in the test: each process that collects it would make and hold them.
        (lambda: b"\xff\xd8\xff" + bytes(17 * 1024 * 1024), "image/jpeg", 413, "too_many_bytes"),
        (lambda: bytes(26 * 1024 * 1024), "image/jpeg", 413, "too_many_bytes"),
        (lambda: jpeg_of_scans((640, 420), 400), "image/jpeg", 400, "too_many_scans"),
        (lambda: jpeg_of_scans((5000, 5000), 17), "image/jpeg", 400, "too_many_scans"),
    ],
)
def test_a_bad_request_gets_its_reason_and_the_next_one_works(
    endpoint: Endpoint, body: bytes | Callable[[], bytes], content_type: str, status: int, reason: str
) -> None:
    response = endpoint.post(body if isinstance(body, bytes) else body(), content_type)
    assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    assert response.json()["error"]["message"]
    assert endpoint.post(grey_model.photo(5), "image/jpeg").json()["count"] == 1


def test_a_url_is_never_fetched_and_the_answer_says_who_fetches(endpoint: Endpoint) -> None:
    response = endpoint.post(b'{"url": "https://example.com/bin.jpg"}', "application/json")
    assert response.status_code == 415 and "binventory.client" in response.json()["error"]["message"]


def test_an_answer_nobody_can_write_is_refused(endpoint: Endpoint) -> None:
    assert endpoint.post(grey_model.photo(5), "image/jpeg", accept="image/png").status_code == 406
    assert endpoint.post(grey_model.photo(5), "image/jpeg", accept="text/csv;q=0").status_code == 406
    assert endpoint.post(grey_model.photo(5), "image/jpeg", accept="text/csv;q=high").status_code == 406


def test_a_body_without_a_length_is_capped_too(endpoint: Endpoint) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(26):
            yield bytes(1024 * 1024)

    try:
        response = httpx.post(f"{endpoint.url}/invocations", content=chunks(), headers={"content-type": "image/jpeg"})
    except httpx.WriteError:
        return  # The server answered and hung up before the client had read: refused as well.
    assert response.status_code == 413


def test_unknown_paths_and_methods_say_what_there_is(endpoint: Endpoint) -> None:
    missing = httpx.get(f"{endpoint.url}/invocation")
    assert missing.status_code == 404 and "/invocations" in missing.json()["error"]["message"]
    wrong = httpx.get(f"{endpoint.url}/invocations")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST"


def test_batch_transform_gets_the_limits_of_a_request(endpoint: Endpoint) -> None:
    parameters = httpx.get(f"{endpoint.url}/execution-parameters").json()
    assert parameters["BatchStrategy"] == "SINGLE_RECORD"
    assert parameters["MaxConcurrentTransforms"] >= 1 and parameters["MaxPayloadInMB"] == 6


def test_in_a_transform_job_a_bad_photo_is_an_answer_and_a_bad_job_fails(base: Path, tmp_path: Path) -> None:
    """SageMaker fails a job when the model answers a record with another status than 200."""
    photo, lines = grey_model.photo(5), b'{"photo": ""}\n' * 65
    with running(tmp_path, base, SAGEMAKER_BATCH="true") as endpoint:
        for body, kind, reason in (
            (b"no photo", "image/jpeg", "not_jpeg_or_png"),
            (b"", "image/jpeg", "empty"),
            (b"{", "application/json", "json"),
            (bytes(26 * 1024 * 1024), "image/jpeg", "too_many_bytes"),
        ):
            answer = endpoint.post(body, kind)
            assert (answer.status_code, answer.json()["error"]["reason"]) == (200, reason)
        for body, kind, status, reason in (
            (photo, "", 415, "content_type"),
            (photo, "application/octet-stream", 415, "content_type"),
            (b'{"url": "https://example.com/bin.jpg"}', "application/json", 415, "url"),
            (lines, "application/jsonlines", 413, "too_many_photos"),
        ):
            answer = endpoint.post(body, kind)
            assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
        assert endpoint.post(photo, "image/jpeg", accept="image/png").status_code == 406
        assert httpx.get(f"{endpoint.url}/invocations").status_code == 405
    assert "_aws" not in endpoint.output.read_text(), "CloudWatch would bill metrics of an endpoint that does not exist"


def test_concurrent_photos_get_their_own_answers(endpoint: Endpoint) -> None:
    wrong: list[tuple[int, int]] = []

    def ask(level: int, count: int) -> None:
        for _ in range(4):
            got = endpoint.post(grey_model.photo(level), "image/jpeg").json()["count"]
            if got != count:
                wrong.append((count, got))

    threads = [threading.Thread(target=ask, args=item) for item in [*LEVELS.items()] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_logs_are_structured_and_hold_no_photo(base: Path, tmp_path: Path) -> None:
    with running(tmp_path, base, BINVENTORY_ENDPOINT="bins") as server:
        server.post(grey_model.photo(250), "image/jpeg")
        server.post(b'{"url": "https://secret.example/bin.jpg"}', "application/json")
    events = server.events()
    assert {event.get("event") for event in events} == {"ready", "refused", None}
    metrics = next(event for event in events if "_aws" in event)
    assert metrics["Endpoint"] == "bins" and metrics["PredictedCount"] == [5] and metrics["ClientErrors"] == 1
    declared = metrics["_aws"]["CloudWatchMetrics"][0]
    assert declared["Namespace"] == "Binventory/Endpoint" and declared["Dimensions"] == [["Endpoint"]]
    assert all(metric["Name"] in metrics for metric in declared["Metrics"])
    assert "secret" not in server.output.read_text()


def test_metrics_can_be_switched_off(base: Path, tmp_path: Path) -> None:
    with running(tmp_path, base, BINVENTORY_METRICS="off") as server:
        server.post(grey_model.photo(250), "image/jpeg")
    assert "_aws" not in server.output.read_text()


def test_sigterm_lets_the_request_under_way_finish(base: Path, tmp_path: Path) -> None:
    with running(tmp_path, base) as server:
        photo = grey_model.photo(200)
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=30) as connection:
            head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + photo[:50])
            # The ping proves that the server has accepted the first request's connection before it gets SIGTERM.
            assert httpx.get(f"{server.url}/ping").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not listening(int(server.url.rsplit(":", 1)[1])))
            connection.sendall(photo[50:])
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200") and b'"count": 4' in answer
        assert server.process.wait(30) == 0


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"onnx": b"no graph"}, "model.onnx is no ONNX model"),
        ({"onnx": grey_model.graph(poison=float("nan"))}, "self-test photo"),
        ({"classes": [1, 2, 3]}, "there are 3 classes"),
        ({"schema": 2}, "schema is 2"),
    ],
)
def test_a_model_that_cannot_answer_never_opens_the_port(tmp_path: Path, broken: dict[str, Any], words: str) -> None:
    grey_model.write(tmp_path / "model", **broken)
    with running(tmp_path, tmp_path) as server:
        assert server.process.wait(30) == 1
    assert [event["event"] for event in server.events()] == ["refused"]
    assert words in server.events()[0]["message"]


def test_a_model_of_other_counts_than_promised_never_opens_the_port(tmp_path: Path) -> None:
    grey_model.write(tmp_path / "model", classes=[0, 1, 2, 3, 4])
    with running(tmp_path, tmp_path, BINVENTORY_CLASSES="1,2,3,4,5") as server:
        assert server.process.wait(30) == 1
    assert "counts 0,1,2,3,4, but this endpoint promises 1,2,3,4,5" in server.events()[0]["message"]


def test_another_archive_than_the_registered_one_never_opens_the_port(base: Path, tmp_path: Path) -> None:
    """A role that may write to the archive's address can seal another model. It cannot change the registry."""
    registered = json.loads((base / "model" / "serving.json").read_bytes())["sha256"]
    with running(tmp_path, base, BINVENTORY_MODEL_DIGEST=registered) as server:
        assert httpx.get(f"{server.url}/ping").status_code == 200
    grey_model.write(tmp_path / "other" / "model", temperature=2.0)
    with running(tmp_path / "other", tmp_path / "other", BINVENTORY_MODEL_DIGEST=registered) as server:
        assert server.process.wait(30) == 1
    assert f"was registered with {registered}" in server.events()[0]["message"]


def test_a_wrong_setting_is_named(base: Path, tmp_path: Path) -> None:
    for variable, value, allowed in (
        ("BINVENTORY_MAX_REQUESTS", "many", "a whole number from 1 to 1024"),
        ("BINVENTORY_MAX_REQUESTS", "0", "a whole number from 1 to 1024"),
        # All requests together may have 64 MiB: a larger one would get 503 every time.
        ("BINVENTORY_MAX_BODY_BYTES", "67108865", "a whole number from 1 to 67108864"),
        ("BINVENTORY_METRICS", "false", "on or off"),
        ("SAGEMAKER_BIND_TO_PORT", "http", "a whole number from 1 to 65535"),
    ):
        with running(tmp_path, base, **{variable: value}) as server:
            assert server.process.wait(30) == 1
        assert server.events()[0]["message"] == f"{variable} must be {allowed}, not {value!r}"


def test_an_archive_is_served_by_hand(tmp_path: Path) -> None:
    archive = grey_model.archive(tmp_path / "model.tar.gz")
    port = free_port()
    command = [sys.executable, str(SERVER), "--model", str(archive), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listening(port) or process.poll() is not None)
            answer = httpx.post(
                f"http://127.0.0.1:{port}/invocations",
                content=grey_model.photo(120),
                headers={"content-type": "image/jpeg"},
            )
            assert answer.json()["count"] == 3
        finally:
            process.terminate()
