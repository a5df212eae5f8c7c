"""The server's parts that HTTP tests cannot reach: full admission, failing models, threads and cores."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import CountingModel, Opened, input_fn, model_fn, output_fn, predict_fn
from serving.admission import AdmissionLimits
from serving.answers import answer
from serving.application import Application
from serving.artefact import Artefact, Description
from serving.cores import inference_threads, usable_cpus
from serving.decoding import Decoders
from serving.micro_batching import MicroBatcher, Scored
from serving.network import Logits, ModelError, Network, Photos
from serving.refusals import Refusal
from serving.telemetry import Metrics
from tests import grey_model


@pytest.fixture
def model(tmp_path: Path) -> CountingModel:
    return model_fn(grey_model.write(tmp_path / "model"), threads=1)


class Gated(CountingModel):
    """A real model whose network waits for the test, or fails; counts the requests at each stage."""

    def __init__(self, folder: Path) -> None:
        artefact = Artefact.read(folder)
        super().__init__(artefact, Network(artefact, threads=1))
        self.gate = threading.Event()
        self.failure: Exception | None = None
        self.batches: list[int] = []
        self.prepared: list[Opened] = []
        self.decoded_in: list[str] = []
        self.arrived = threading.Event()
        self.taken = 0
        self.batcher: MicroBatcher
        self.large = 0
        self.hold_large = threading.Event()
        self.hold_large.set()

    def decode(self, opened: Opened) -> Photos | Refusal:
        if opened.large:
            self.large += 1
            self.hold_large.wait(30)
        result = super().decode(opened)
        self.decoded_in.append(threading.current_thread().name)
        self.prepared.append(opened)
        return result

    def logits(self, batch: Photos) -> Logits:
        self.taken += len(batch)
        self.arrived.set()
        self.gate.wait(30)
        self.batches.append(len(batch))
        if self.failure is not None:
            raise self.failure
        return super().logits(batch)

    @property
    def queued(self) -> int:
        """How many photos have come to the network's queue: from prepared to queued is a step."""
        return self.taken + len(self.batcher._waiting)

    @property
    def rests(self) -> bool:
        """Whether the network's thread takes the next photo at once: from its last answer to its rest is a step."""
        return self.batcher._rests


def quiet() -> Metrics:
    return Metrics(namespace="x", dimensions={}, enabled=False)


def served(
    folder: Path, limits: AdmissionLimits, play: Callable[[Gated, httpx.AsyncClient], Any], **options: Any
) -> Any:
    """Run `play` with a gated model and a client of the application around it."""
    counter = Gated(grey_model.write(folder / "model"))
    application = Application(counter, limits=limits, metrics=quiet(), **options)
    counter.batcher = application._batcher

    async def run() -> Any:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return await play(counter, client)

    try:
        return asyncio.run(run())
    finally:
        counter.gate.set()
        application.close()


async def post(client: httpx.AsyncClient, body: bytes | AsyncIterator[bytes]) -> httpx.Response:
    return await client.post("/invocations", content=body, headers={"content-type": "image/jpeg"})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_full_house_says_503_and_answers_everyone_it_let_in(tmp_path: Path) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        inside = [asyncio.create_task(post(client, grey_model.photo(250))) for _ in range(3)]
        await until(lambda: len(counter.prepared) == 3)
        refused = await post(client, grey_model.photo(250))
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["reason"] == "busy"
        counter.gate.set()
        assert [response.json()["count"] for response in await asyncio.gather(*inside)] == [5, 5, 5]
        assert (await post(client, grey_model.photo(5))).json()["count"] == 1

    served(tmp_path, AdmissionLimits(requests=3), play)


def test_bytes_are_bounded_over_all_requests(tmp_path: Path) -> None:
    photo = grey_model.photo(250)

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        inside = asyncio.create_task(post(client, photo))
        await until(lambda: len(counter.prepared) == 1)
        assert (await post(client, photo)).status_code == 503
        counter.gate.set()
        assert (await inside).status_code == 200
        assert (await post(client, photo)).status_code == 200

    served(tmp_path, AdmissionLimits(bytes=len(photo) + 1), play)


@pytest.mark.parametrize("cpus", [1, 8, 16])
def test_all_requests_that_a_transform_job_may_send_at_once_find_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr("serving.application.usable_cpus", lambda: cpus)

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        told = (await client.get("/execution-parameters")).json()
        at_once, megabytes = told["MaxConcurrentTransforms"], told["MaxPayloadInMB"]
        assert at_once * megabytes <= 100, "SageMaker allows no more"
        photo = grey_model.photo(250)
        photo += bytes(megabytes * 1024 * 1024 - len(photo))
        inside = [asyncio.create_task(post(client, photo)) for _ in range(at_once)]
        # What finds no room is done at once.
        await until(lambda: counter.queued + sum(map(asyncio.Task.done, inside)) == at_once)
        counter.gate.set()
        assert [response.json().get("count") for response in await asyncio.gather(*inside)] == [5] * at_once

    served(tmp_path, AdmissionLimits(), play, in_transform_job=True)


def test_photos_are_bounded_over_all_requests(tmp_path: Path) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        pixels = io.BytesIO()
        np.save(pixels, np.zeros((5, 64, 64, 3), dtype=np.uint8))
        headers = {"content-type": "application/x-npy"}
        inside = asyncio.create_task(client.post("/invocations", content=pixels.getvalue(), headers=headers))
        await until(lambda: len(counter.prepared) == 5)
        assert (await post(client, grey_model.photo(5))).status_code == 503
        counter.gate.set()
        assert len((await inside).json()["predictions"]) == 5
        assert (await post(client, grey_model.photo(5))).status_code == 200

    served(tmp_path, AdmissionLimits(photos=5), play)


def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"\xff\xd8\xff"
        await asyncio.sleep(20)

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        counter.gate.set()
        response = await post(client, slow())
        assert response.status_code == 408 and response.json()["error"]["reason"] == "slow"
        assert (await post(client, grey_model.photo(5))).status_code == 200

    served(tmp_path, AdmissionLimits(body_seconds=0.2), play)


def test_bodies_that_do_not_come_keep_nobody_out(tmp_path: Path) -> None:
    begun = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal begun
        begun += 1
        yield b"\xff\xd8\xff"
        await asyncio.sleep(3600)

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        counter.gate.set()
        waiting = [asyncio.create_task(post(client, endless())) for _ in range(5)]
        await until(lambda: begun == 5)
        assert (await post(client, grey_model.photo(5))).json()["count"] == 1
        for task in waiting:
            task.cancel()

    served(tmp_path, AdmissionLimits(requests=2), play)


def test_an_answer_that_comes_too_late_is_given_up(tmp_path: Path) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        late = await post(client, grey_model.photo(5))
        assert late.status_code == 503 and late.json()["error"]["reason"] == "busy"
        counter.gate.set()

    served(tmp_path, AdmissionLimits(answer_seconds=0.2), play)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_reading_a_body_and_answering_it_share_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50 s, 20 until the body is parsed leave 30: SageMaker's caller waits no longer than 60."""
    counter = Gated(grey_model.write(tmp_path / "model"))
    app = Application(counter, limits=AdmissionLimits(), metrics=quiet())
    counter.batcher = app._batcher

    def slowly(body: bytes, content_type: str) -> Any:
        loop.ahead += 20
        return input_fn(body, content_type)

    monkeypatch.setattr("serving.application.input_fn", slowly)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            body = {"photo": base64.b64encode(grey_model.photo(5)).decode()}
            answer = asyncio.create_task(client.post("/invocations", json=body))
            await until(lambda: counter.queued == 1)
            loop.ahead += 31
            for _ in range(100):
                await asyncio.sleep(0)
            assert answer.done()
            return await answer

    with asyncio.Runner(loop_factory=Clock) as runner:
        loop = cast(Clock, runner.get_loop())
        try:
            late = runner.run(run())
        finally:
            counter.gate.set()
            app.close()
    assert late.status_code == 503 and late.json()["error"]["reason"] == "busy"


def test_a_lack_of_memory_is_no_fault_of_the_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller whose photo were called damaged would not send it again."""

    def short_of_memory(_image: object) -> None:
        raise MemoryError

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        counter.gate.set()
        with monkeypatch.context() as patch:
            patch.setattr("PIL.ImageFile.ImageFile.load", short_of_memory)
            failed = await post(client, grey_model.photo(5))
        assert (failed.status_code, failed.json()["error"]["reason"]) == (500, "internal")
        assert (await post(client, grey_model.photo(5))).json()["count"] == 1

    served(tmp_path, AdmissionLimits(), play)


def test_a_request_of_many_photos_leaves_room_for_others(tmp_path: Path) -> None:
    """A photo that comes later waits for eight photos of the large request, not for all 64."""

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        pixels = io.BytesIO()
        np.save(pixels, np.zeros((64, 64, 64, 3), dtype=np.uint8))
        headers = {"content-type": "application/x-npy"}
        large = asyncio.create_task(client.post("/invocations", content=pixels.getvalue(), headers=headers))
        await until(lambda: len(counter.prepared) == 8)
        small = asyncio.create_task(post(client, grey_model.photo(250)))
        await until(lambda: counter.queued == 9)
        counter.gate.set()
        assert (await small).json()["count"] == 5 and sum(counter.batches) < 64
        assert len((await large).json()["predictions"]) == 64

    served(tmp_path, AdmissionLimits(), play)


def test_a_large_photo_is_decoded_in_turn_and_a_small_one_does_not_wait_for_it(tmp_path: Path) -> None:
    large = grey_model.photo(250, "PNG", (2000, 1600))

    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        counter.gate.set()
        counter.hold_large.clear()
        slow = [asyncio.create_task(post(client, large)) for _ in range(6)]
        await until(lambda: counter.large == 1)
        assert (await post(client, grey_model.photo(5))).json()["count"] == 1
        assert counter.large == 1
        counter.hold_large.set()
        assert [response.json()["count"] for response in await asyncio.gather(*slow)] == [5] * 6
        assert counter.large == 6

    served(tmp_path, AdmissionLimits(), play)


def test_stopping_waits_for_no_decode_that_does_not_end() -> None:
    decoders = Decoders(1)
    begun, release, ran = threading.Event(), threading.Event(), threading.Event()

    def endless() -> None:
        begun.set()
        release.wait(60)

    decoders.submit(endless)
    decoders.submit(ran.set)
    decoders.submit(lambda: None, large=True)
    assert begun.wait(30)
    decoders.close()
    assert not ran.is_set(), "a job that had not begun is dropped"
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "decoder")
    release.set()


def test_what_waits_together_goes_through_together_and_nothing_waits_alone(tmp_path: Path) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(post(client, grey_model.photo(5)))
        await until(counter.arrived.is_set)  # It is at the gate, alone.
        rest = [asyncio.create_task(post(client, grey_model.photo(250))) for _ in range(10)]
        await until(lambda: counter.queued == 11)
        counter.gate.set()
        assert [response.json()["count"] for response in await asyncio.gather(first, *rest)] == [1] + [5] * 10
        assert counter.batches[0] == 1 and sum(counter.batches) == 11 and max(counter.batches) == 8

    served(tmp_path, AdmissionLimits(), play)


def test_a_photo_that_comes_alone_is_decoded_where_it_is_scored(tmp_path: Path) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        await until(lambda: counter.rests)
        first = asyncio.create_task(post(client, grey_model.photo(5)))
        await until(counter.arrived.is_set)  # The network's thread has decoded it, and is at the gate.
        rest = [asyncio.create_task(post(client, grey_model.photo(250))) for _ in range(3)]
        await until(lambda: len(counter.prepared) == 4)
        counter.gate.set()
        assert [response.json()["count"] for response in await asyncio.gather(first, *rest)] == [1, 5, 5, 5]
        await until(lambda: counter.rests)
        assert (await post(client, grey_model.photo(128))).json()["count"] == 3
        assert counter.decoded_in == ["network", "decoder", "decoder", "decoder", "network"]

    served(tmp_path, AdmissionLimits(), play)


def test_a_job_is_lent_to_a_thread_that_rests_alone(model: CountingModel) -> None:
    batcher = MicroBatcher(model.logits, largest=8)
    begun, release, scored = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        release.wait(30)

    while not batcher.lend(job):  # Until the thread has come to rest for the first time.
        pass
    assert begun.wait(30) and not batcher.lend(job)
    # A photo that comes meanwhile is scored after the job.
    batcher.enqueue(np.zeros((224, 224, 3), dtype=np.uint8), lambda outcome: scored.set())
    assert not batcher.lend(job) and not scored.is_set()
    release.set()
    assert scored.wait(30)
    batcher.close()
    assert not batcher.lend(job)


def test_a_photo_that_the_network_fails_on_spares_those_beside_it() -> None:
    """Three callers' photos are taken together, and the graph has no score for one of them."""
    held, arrived = threading.Event(), threading.Event()

    def logits(photos: Photos) -> Logits:
        arrived.set()
        held.wait(30)
        if (photos == 7).all(axis=(1, 2, 3)).any():
            raise ModelError("the graph gave scores that are no numbers")
        return np.stack([np.full(5, photo.max(), dtype=np.float32) for photo in photos])

    batcher, found = MicroBatcher(logits, largest=8), dict[int, list[float] | str]()
    every = threading.Event()

    def enqueue(level: int) -> None:
        def deliver(outcome: Scored | Exception) -> None:
            found[level] = str(outcome) if isinstance(outcome, Exception) else outcome.scores.tolist()
            if len(found) == 4:
                every.set()

        batcher.enqueue(np.full((2, 2, 3), level, dtype=np.uint8), deliver)

    enqueue(1)
    assert arrived.wait(30)  # the next three wait for it, and are taken together
    for level in (2, 7, 3):
        enqueue(level)
    held.set()
    assert every.wait(30)
    batcher.close()
    assert found == {1: [1] * 5, 2: [2] * 5, 3: [3] * 5, 7: "the graph gave scores that are no numbers"}


@pytest.mark.parametrize(("failure", "reason"), [(ModelError("bad graph"), "model"), (KeyError("secret"), "internal")])
def test_a_failing_model_is_a_500_that_spares_the_next_request(
    tmp_path: Path, failure: Exception, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        counter.gate.set()
        counter.failure = failure
        response = await post(client, grey_model.photo(5))
        assert (response.status_code, response.json()["error"]["reason"]) == (500, reason)
        counter.failure = None
        assert (await post(client, grey_model.photo(5))).json()["count"] == 1

    served(tmp_path, AdmissionLimits(), play)
    event = json.loads(capsys.readouterr().out.splitlines()[0])
    assert event["event"] == "failed" and event["reason"] == reason and "secret" not in json.dumps(event)


def test_ping_says_when_the_network_stopped(tmp_path: Path) -> None:
    application = Application(
        model_fn(grey_model.write(tmp_path / "model"), threads=1), limits=AdmissionLimits(), metrics=quiet()
    )
    application.close()

    async def ping() -> int:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return (await client.get("/ping")).status_code

    assert asyncio.run(ping()) == 503


def test_a_closed_batcher_takes_nothing_more(model: CountingModel) -> None:
    batcher = MicroBatcher(model.logits, largest=8)
    batcher.close()
    with pytest.raises(RuntimeError, match="stopping"):
        batcher.enqueue(np.zeros((224, 224, 3), dtype=np.uint8), lambda outcome: None)


def test_a_request_whose_end_is_told_in_two_ways_is_refused(tmp_path: Path) -> None:
    async def play(counter: Gated, client: httpx.AsyncClient) -> None:
        headers = {"content-length": "5", "transfer-encoding": "chunked"}
        response = await client.post("/invocations", content=b"12345", headers=headers)
        assert (response.status_code, response.json()["error"]["reason"]) == (400, "framing")
        assert response.headers["connection"] == "close"

    served(tmp_path, AdmissionLimits(), play)


def test_a_client_that_left_is_not_answered(tmp_path: Path) -> None:
    application = Application(
        model_fn(grey_model.write(tmp_path / "model"), threads=1), limits=AdmissionLimits(), metrics=quiet()
    )
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": [(b"content-type", b"image/jpeg")]}
    asyncio.run(application(scope, receive, send))
    application.close()
    assert sent == []


@pytest.mark.parametrize("field", ["body_bytes", "body_seconds", "answer_seconds", "requests", "photos", "bytes"])
def test_limits_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        AdmissionLimits(**{field: 0})


# The four functions, as SageMaker's own toolkits call them


def test_the_four_functions_count_a_photo(model: CountingModel) -> None:
    body, media_type = output_fn(predict_fn(input_fn(grey_model.photo(200), "image/jpeg"), model), "application/json")
    assert media_type == "application/json" and json.loads(body)["count"] == 4


def test_predicting_together_equals_predicting_alone(model: CountingModel) -> None:
    photos = [grey_model.photo(level) for level in (3, 60, 131, 190, 249)]
    together = model.logits(np.stack([p for p in map(model.prepare, photos) if isinstance(p, np.ndarray)]))
    for photo, scores in zip(photos, together, strict=True):
        alone = predict_fn(input_fn(photo, "image/jpeg"), model).results[0]
        assert alone == model.answer(scores)


def test_the_photos_beside_it_change_no_score(tmp_path: Path) -> None:
    """Even a graph that looks at its whole batch answers each photo as if it were alone."""
    graph = onnx.load_from_string(grey_model.graph())
    graph.graph.node[-1].output[0] = "alone"
    graph.graph.node.extend([
        onnx.helper.make_node("ReduceMean", ["alone"], ["of all"], axes=[0], keepdims=1),
        onnx.helper.make_node("Mul", ["alone", "of all"], ["logits"]),
    ])  # fmt: skip
    model = model_fn(grey_model.write(tmp_path / "model", onnx=graph.SerializeToString()), threads=1)
    photos = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    photos[1:] //= 3
    together = model.logits(photos)
    for photo, scores in zip(photos, together, strict=True):
        assert model.logits(photo[np.newaxis])[0].tobytes() == scores.tobytes()


# What the numbers mean


@given(
    scores=st.lists(st.floats(-80, 80, width=32), min_size=5, max_size=5),
    temperature=st.floats(0.05, 20),
)
def test_probabilities_are_a_distribution_whose_peak_is_the_count(scores: list[float], temperature: float) -> None:
    given_answer = answer(
        np.array(scores, dtype=np.float32),
        Description.parse(json.dumps(grey_model.description(temperature=temperature))),
    )
    shares = given_answer.probabilities
    assert sum(shares.values()) == pytest.approx(1)
    assert given_answer.confidence == max(shares.values())
    assert 1 - 1e-9 <= given_answer.expected_count <= 5 + 1e-9
    assert -1e-9 <= given_answer.entropy <= np.log(5) + 1e-9
    assert scores[given_answer.count - 1] == pytest.approx(max(scores), abs=1e-6)


# The machine's share and the metrics


def test_a_quota_or_an_affinity_bounds_the_threads(tmp_path: Path) -> None:
    allowed = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    for text, expected in [("max 100000", allowed), ("50000 100000", 1), ("100000 100000", 1), ("nonsense", allowed)]:
        quota.write_text(text)
        assert usable_cpus(quota) == expected
    assert usable_cpus(tmp_path / "absent") == allowed


def test_two_hyperthreads_of_one_core_get_one_thread(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("max 100000")
    for cpu in os.sched_getaffinity(0):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text("0-1\n")
    assert inference_threads(quota, tmp_path) == 1
    assert inference_threads(quota, tmp_path / "hidden") == len(os.sched_getaffinity(0))


def test_metrics_are_written_when_a_hundred_values_have_come() -> None:
    stream = io.StringIO()
    metrics = Metrics(namespace="N", dimensions={"Endpoint": "e"}, interval_s=1e9, stream=stream)
    for value in range(250):
        metrics.observe(Latency=value)
    metrics.count("Photos", 3)
    metrics.count("Photos")
    metrics.flush()
    metrics.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [len(line["Latency"]) for line in lines] == [100, 100, 50]
    assert [value for line in lines for value in line["Latency"]] == list(range(250))
    assert lines[-1]["Photos"] == 4


def test_metrics_are_written_when_their_interval_has_passed() -> None:
    stream = io.StringIO()
    metrics = Metrics(namespace="N", dimensions={}, interval_s=0.0, stream=stream)
    metrics.count("Refused")
    metrics.observe(Latency=1.0)
    assert len(stream.getvalue().splitlines()) == 2


def test_the_last_values_before_a_quiet_hour_are_written_without_another_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, rings, written = io.StringIO(), threading.Event(), threading.Event()

    class Clock(threading.Thread):
        """A timer whose time is up when the test says so."""

        def __init__(self, seconds: float, work: Callable[[], None]) -> None:
            super().__init__(daemon=True)
            self._work = work

        def run(self) -> None:
            rings.wait(30)
            self._work()
            written.set()

        def cancel(self) -> None:
            """Its time is up already."""

    monkeypatch.setattr("serving.telemetry.threading.Timer", Clock)
    metrics = Metrics(namespace="N", dimensions={}, properties={"ModelPackage": "p"}, stream=stream)
    metrics.observe(Latency=1.0)
    metrics.observe(Latency=2.0)
    assert stream.getvalue() == ""
    rings.set()
    assert written.wait(30)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["Latency"], line["ModelPackage"]) == ([1.0, 2.0], "p")
