"""What the network and SageMaker's limits do to an audit is never taken for a verdict about a bin."""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import signal
import sys
import threading
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.httpchecksum import Crc32Checksum, StreamingChecksumBody
from botocore.response import StreamingBody

from benchmarks.object_server import BUCKET, LISTING, Fault, ObjectServer
from binventory import serving
from binventory.audit import sources
from binventory.audit.counters import EndpointCounter, Pace, PhotoRefusedError
from binventory.audit.database import AuditDatabase
from binventory.audit.predictions import read_predictions
from binventory.audit.run import Scope, audit_bins
from binventory.audit.sources import Folder, Prefix, bins_with_metadata
from binventory.cli import run
from binventory.client import CountError, FetchError, Queue, count_queued
from binventory.client.addresses import checked_url, is_public, joined
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.core.objects import read_whole
from tests.audited import CUT, Reply, photo_bytes, runtime, shade_answer, write_folder


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


def test_a_cut_answer_is_asked_for_again_and_one_that_never_comes_ends_the_audit() -> None:
    def cut_twice(photo: bytes, number: int) -> Reply:
        status, body = shade_answer(photo, number)
        return (CUT, body) if number <= 2 else (status, body)

    with runtime(cut_twice) as endpoint:
        counter = EndpointCounter(endpoint.aws, "e", Pace(None), patience=0)
        assert counter.probabilities("1", photo_bytes(60))[3] == 0.8
        assert len(endpoint.photos) == 3
    with runtime(lambda photo, number: (CUT, b'{"probabilities": {"1"')) as endpoint:
        counter = EndpointCounter(endpoint.aws, "e", Pace(None), patience=0)
        with pytest.raises(Problem, match="stopped answering: an answer was cut"):
            counter.probabilities("1", photo_bytes(60))


def test_a_queue_reads_a_cut_answer_again() -> None:
    """The photo and the answer are in a bucket; the first requests for the answer are cut."""
    answer = {"count": 2, "probabilities": {"1": 0.1, "2": 0.9}, "expected_count": 1.9, "entropy": 0.3}
    body = json.dumps({**answer, "model": {"package": "p"}}).encode()

    def cut(key: str, before: int) -> Fault | None:
        return (Fault.DROP, Fault.FLIP, Fault.DROP)[before] if key == "answer" and before < 3 else None

    class Asked:
        def invoke_endpoint_async(self, **request: object) -> object:
            return {"OutputLocation": f"s3://{BUCKET}/answer", "FailureLocation": f"s3://{BUCKET}/failure"}

    class Uploads:
        """The object server only reads."""

        def __init__(self, s3: Any) -> None:
            self.get_object = s3.get_object

        def put_object(self, **request: object) -> None:
            """Takes the photo."""

        def delete_object(self, **request: object) -> None:
            """Removes the photo."""

    with ObjectServer({"answer": body}, fault=cut) as server:
        s3 = prefix(server).aws.client("s3")
        queue = Queue("e", f"s3://{BUCKET}/in/", Asked(), Uploads(s3))
        assert count_queued(b"photo", queue, pause=lambda _: None).count == 2


def test_a_photo_that_is_sent_twice_at_once_has_two_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each removes its own from S3 when it has its answer; the clock of some systems stands for a microsecond."""
    monkeypatch.setattr("time.time_ns", lambda: 1)
    failing = Failing("{}")
    queue = Queue("e", "s3://b/in/", failing, failing, halted=AtOnce())
    for _ in range(2):
        with pytest.raises(CountError):
            count_queued(b"photo", queue)
    assert len(set(failing.removed)) == 2 and queue.remains() is None


def test_a_photo_whose_answer_is_late_stays_because_its_request_still_waits() -> None:
    never = Never()
    queue = Queue("e", "s3://b/in/", never, never, patience=0.0)
    with pytest.raises(CountError, match="will be written"):
        count_queued(b"photo", queue)
    assert never.removed == []
    assert "1 photo below s3://b/in/" in str(queue.remains()) and "when its turn comes" in str(queue.remains())


def test_a_queue_whose_answers_may_not_be_listed_names_the_right() -> None:
    """S3 says AccessDenied of an answer that is not there yet, where the caller may read and not list."""

    class Unlisted(Never):
        def get_object(self, **request: object) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no s3:ListBucket"}}, "GetObject")

    unlisted = Unlisted()
    with pytest.raises(CountError, match=r"s3:GetObject on s3://b/\*, and s3:ListBucket on b, without") as denied:
        count_queued(b"photo", Queue("e", "s3://b/in/", unlisted, unlisted))
    assert denied.value.reason == "AccessDenied" and len(unlisted.removed) == 1


class Never:
    """A queue whose answers never come: Ctrl-C is pressed once somebody has looked for one."""

    def __init__(self) -> None:
        self.pressed = False
        self.removed: list[object] = []

    def invoke_endpoint_async(self, **request: object) -> object:
        return {"OutputLocation": "s3://b/answer", "FailureLocation": "s3://b/failure"}

    def put_object(self, **request: object) -> None:
        """Takes the photo."""

    def get_object(self, **request: object) -> None:
        if request["Key"] == "failure" and not self.pressed:
            self.pressed = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")

    def delete_object(self, **request: object) -> None:
        self.removed.append(request["Key"])


REFUSALS = {
    'Received client error (400) from primary with message "{"error": {"reason": "busy"}}"': "refused",
    "2026-11-30T07:00:00.000:[sagemaker logs] [id] Received client error (413) from primary": "refused",
    '{"error": {"reason": "not_jpeg_or_png", "message": "no photo"}}\n': "refused",
    '{"error": {"reason": "busy", "message": "64 requests are waiting"}}\n': "failed",
    'Received server error (503) from primary with message "not_jpeg_or_png"': "failed",
    'Received client error (429) from primary with message ""': "failed",
    "The request expired": "failed",
}


class Failing(Never):
    """A queue that writes a failure for each of the first requests, and then answers."""

    def __init__(self, failure: str, first: int = 99) -> None:
        super().__init__()
        self.failure = failure
        self.first = first
        self.asked = 0

    def invoke_endpoint_async(self, **request: object) -> object:
        self.asked += 1
        return super().invoke_endpoint_async(**request)

    def get_object(self, **request: object) -> Any:
        if (request["Key"] == "failure") != (self.asked <= self.first):
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")
        answer = {"count": 2, "probabilities": {"1": 0.1, "2": 0.9}, "expected_count": 1.9, "entropy": 0.3}
        text = json.dumps({**answer, "model": {"package": "p"}}) if request["Key"] == "answer" else self.failure
        return {"Body": io.BytesIO(text.encode())}


class AtOnce(threading.Event):
    """Nothing is waited for."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@pytest.mark.parametrize(("failure", "reason"), REFUSALS.items())
def test_only_what_the_server_refuses_is_a_refusal_in_a_queue(failure: str, reason: str) -> None:
    failing = Failing(failure)
    with pytest.raises(CountError) as failed:
        count_queued(b"photo", Queue("e", "s3://b/in/", failing, failing, halted=AtOnce()))
    assert failed.value.reason == reason and str(failed.value) == failure
    assert failing.asked == (1 if reason == "refused" else 4) and len(failing.removed) == 1


def test_what_failed_is_queued_again_and_an_audit_stops_where_that_fails_too() -> None:
    no_aws = Aws(boto3.Session("test", "test", region_name="us-east-1"))

    def counter(queue: Failing) -> EndpointCounter:
        queues = [Queue("e", "s3://b/in/", queue, queue, halted=AtOnce())]
        return EndpointCounter(no_aws, "e", Pace(None), _queues=queues)

    failing = Failing("Received server error (0) from primary", first=2)
    assert counter(failing).probabilities("1", b"photo")[2] == 0.9 and failing.asked == 3
    failing = Failing("Received server error (0) from primary")
    with pytest.raises(Problem, match="stopped answering"):
        counter(failing).probabilities("1", b"photo")
    assert failing.asked == 4
    failing = Failing("Received client error (415) from primary")
    with pytest.raises(PhotoRefusedError):
        counter(failing).probabilities("1", b"photo")


class _SignalStack(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.fixture
def own_signal_stack() -> None:
    """Signals come on the thread's own stack again.

    OpenVINO sets another stack for the thread that loads its CPU plugin, and may free it in a different thread. The
    next signal then ends the process. Other tests in this process may have loaded the plugin.
    """
    if sys.platform == "linux":
        disable = _SignalStack(None, 2, 0)
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(disable), None) == 0


def join_threads(prefix: str) -> None:
    """Waits as Python does at its end: a pool does not know a thread that it was starting when Ctrl-C came.

    Such a thread may not run yet, and then it cannot be joined.
    """
    for thread in threading.enumerate():
        if thread.name.startswith(prefix) and thread._started.wait(10):  # type: ignore[attr-defined]
            thread.join()


class Cut:
    """A client of S3 or of the runtime that loses its connection, or is refused, at one operation."""

    def __init__(self, operation: str, error: Exception) -> None:
        self.operation, self.error = operation, error
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: object) -> dict[str, str]:
            self.calls.append(name)
            if name == self.operation:
                raise self.error
            return {"OutputLocation": "s3://b/out", "FailureLocation": "s3://b/failure"}

        return call


LOST = EndpointConnectionError(endpoint_url="https://s3.us-east-1.amazonaws.com")
DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "you may not"}}, "GetObject")


@pytest.mark.parametrize(
    ("operation", "error", "reason"),
    [
        ("put_object", LOST, "connection"),
        ("put_object", DENIED, "AccessDenied"),
        ("invoke_endpoint_async", LOST, "connection"),
        ("invoke_endpoint_async", DENIED, "AccessDenied"),
        ("get_object", DENIED, "AccessDenied"),
    ],
)
def test_a_photo_that_is_not_queued_or_not_answered_says_why_and_is_removed(
    operation: str, error: Exception, reason: str
) -> None:
    client = Cut(operation, error)
    with pytest.raises(CountError) as caught:
        count_queued(photo_bytes(20), Queue("e", "s3://b/in/", client, client))
    assert caught.value.reason == reason
    # Where S3 refused the photo, there is none.
    assert ("delete_object" in client.calls) == (operation != "put_object" or error is LOST)


@pytest.mark.usefixtures("own_signal_stack")
def test_ctrl_c_ends_the_wait_for_a_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers could come for a quarter of an hour; the photos are removed from S3 again."""
    photo = tmp_path / "bin.jpg"
    photo.write_bytes(photo_bytes(20))
    never = Never()
    monkeypatch.setattr(serving, "find_queue", lambda aws, names: Queue("e", "s3://b/in/", never, never))
    aws = Aws(boto3.Session("t", "t", region_name="x"))
    monkeypatch.setattr("binventory.cli.count.connect", lambda environment: aws)
    assert run(["count", str(photo)]) == Exit.INTERRUPTED
    join_threads("count")
    assert len(never.removed) == 1


@pytest.mark.usefixtures("own_signal_stack")
def test_ctrl_c_ends_an_audit_that_waits_for_a_queue(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bins", 5)
    never = Never()
    aws = Aws(boto3.Session("t", "t", region_name="x"))
    counter = EndpointCounter(aws, "e", Pace(None), _queues=[Queue("e", "s3://b/in/", never, never)])
    ledger = AuditDatabase(tmp_path / "ledger.sqlite", {"source": "x"})
    with pytest.raises(KeyboardInterrupt):
        audit_bins(bins_with_metadata(Folder(folder)), Folder(folder), counter, ledger, scope=Scope(), concurrency=2)
    join_threads("audit")
    assert never.removed and ledger.counts()["counted"] == 0
    ledger.close()


def test_an_object_behind_a_network_that_stays_away_is_named() -> None:
    client = Cut("get_object", LOST)
    with pytest.raises(
        Problem, match="s3://b/o was not read: it was requested 6 times, last: Could not connect"
    ) as caught:
        read_whole(client.get_object, "s3://b/o", pause=0)
    assert len(client.calls) == 6 and "check the network" in caught.value.cure


def test_an_object_is_read_again_until_it_is_whole() -> None:
    def cut(key: str, before: int) -> Fault | None:
        return Fault.DROP if (key == "whole" and before < 3) or key == "never" else None

    with ObjectServer({"whole": b"w" * 5000, "never": b"n" * 5000}, fault=cut) as server:
        s3 = prefix(server).aws.client("s3")
        assert read_whole(partial(s3.get_object, Bucket=BUCKET, Key="whole"), "it", pause=0) == b"w" * 5000
        with pytest.raises(Problem, match="it was not read"):
            read_whole(partial(s3.get_object, Bucket=BUCKET, Key="never"), "it", pause=0)


def test_a_flipped_byte_is_noticed_by_the_md5_that_s3_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PAUSE", 0.0)
    objects = {f"bin-images/{number}.jpg": bytes([number]) * 3000 for number in range(5)}

    def flip(key: str, before: int) -> Fault | None:
        return Fault.FLIP if before < 1 else None

    with ObjectServer(objects, fault=flip) as server:
        store = prefix(server)
        for path, data in objects.items():
            assert store.read(path, 10_000) == data and server.requests[path] == 2


class Answers:
    """A client that gives these bodies of one object, one after the other, with the headers of each."""

    def __init__(self, *answers: tuple[bytes, dict[str, str]]) -> None:
        self._answers = list(answers)

    def __call__(self) -> dict[str, Any]:
        body, headers = self._answers.pop(0)
        return {"ContentLength": len(body), "Body": StreamingBody(io.BytesIO(body), len(body)), **headers}

    @property
    def left(self) -> int:
        return len(self._answers)


def test_only_what_is_an_md5_is_compared() -> None:
    right = {"ETag": '"' + hashlib.md5(b"right").hexdigest() + '"'}
    other = {"ETag": '"' + "0" * 32 + '"'}
    flipped = Answers((b"wrong", right), (b"right", right))
    assert read_whole(flipped, "it", pause=0) == b"right" and not flipped.left
    for unknown in (
        {"ETag": '"' + "0" * 32 + '-2"'},
        {**other, "ServerSideEncryption": "aws:kms"},
        {**other, "SSECustomerAlgorithm": "AES256"},
        {**other, "StorageClass": "EXPRESS_ONEZONE"},
        {},
    ):
        assert read_whole(Answers((b"right", unknown)), "it", pause=0) == b"right"
    # The first bytes of an object say nothing about its MD5.
    assert read_whole(Answers((b"right", right)), "it", most=3, pause=0) == b"rig"
    with pytest.raises(Problem, match=r"not 0+ as its ETag says"):
        read_whole(Answers(*[(b"the same damage", other)] * 6), "it", pause=0)


def test_a_stored_checksum_is_compared_where_there_is_no_md5() -> None:
    """As boto3 reads a body whose checksum S3 has sent: it compares when nothing is left to read."""
    sums = [Crc32Checksum(), Crc32Checksum()]
    expected = Crc32Checksum().handle(b"right")
    bodies = [StreamingChecksumBody(io.BytesIO(data), 5, sums.pop(), expected) for data in (b"wrong", b"right")]
    answers = [{"ContentLength": 5, "Body": body, "ServerSideEncryption": "aws:kms"} for body in bodies]
    assert read_whole(lambda: answers.pop(0), "it", pause=0) == b"right" and not answers


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
