"""The ASGI application: routes, errors, and the path of a request through decoding, batching and answering."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from inference import CountingModel, Opened, Reading, input_fn, output_fn
from serving.admission import (
    TRANSFORM_MEGABYTES,
    Admission,
    AdmissionLimits,
    Disconnected,
    Message,
    Receive,
    Visit,
    busy,
)
from serving.answers import Answer, Prediction
from serving.cores import usable_cpus
from serving.decoding import Decoders
from serving.micro_batching import MicroBatcher, Scored
from serving.network import ModelError, Photos
from serving.openapi import document
from serving.refusals import Refusal, RequestError
from serving.requests import JSON, Photo, choose_answer, is_one_image
from serving.telemetry import Metrics, log
from serving.tickets import Outcome, Ticket

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BATCH: Final = 8
# Photos of one request that are decoded or wait for the network at the same time. So a request of few photos never
# waits for all photos of a large one.
_AT_ONCE: Final = LARGEST_BATCH
# Larger bodies of several photos are parsed one at a time, because that takes memory of several times their size.
_LARGE_BODY_BYTES: Final = 4 * 1024 * 1024
# In a transform job these refusals of one record become its answer. The reasons of what is wrong with the job itself
# are no such refusals: every record would have them.
_OF_THE_PHOTO: Final = {400, 413}
_OF_THE_JOB: Final = {"too_many_photos", "framing"}


@dataclass(frozen=True)
class HttpReply:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    then: Callable[[], None] | None = None
    """Called when the answer has been sent: work for which no client should wait. Must not raise."""

    @classmethod
    def of_json(cls, document: object, status: int = 200) -> HttpReply:
        """A JSON answer."""
        return cls(status, json.dumps(document).encode() + b"\n")

    @classmethod
    def of_error(cls, error: RequestError) -> HttpReply:
        """An error as JSON with its reason."""
        body = json.dumps({"error": {"reason": error.reason, "message": str(error)}}).encode() + b"\n"
        return cls(error.status, body, headers=tuple((name.encode(), value.encode()) for name, value in error.headers))


class Application:
    """Answers photos. Create it with a model that passed its self-test: /ping reports on exactly that model."""

    def __init__(
        self, counter: CountingModel, *, limits: AdmissionLimits, metrics: Metrics, in_transform_job: bool = False
    ) -> None:
        self._counter = counter
        self._in_transform_job = in_transform_job
        self._metrics = metrics
        self._admission = Admission(limits.in_transform_job(usable_cpus()) if in_transform_job else limits)
        self._decoders = Decoders(usable_cpus())
        self._batcher = MicroBatcher(counter.logits, largest=LARGEST_BATCH)
        self._routes: dict[tuple[str, str], Callable[[Scope, Receive], Awaitable[HttpReply]]] = {
            ("GET", "/ping"): self._ping,
            ("POST", "/invocations"): self._invocations,
            ("GET", "/execution-parameters"): self._execution_parameters,
            ("GET", "/openapi.json"): self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    def close(self) -> None:
        """End the threads and write the last metrics. Photos that wait to be decoded are dropped."""
        self._decoders.close()
        self._batcher.close()
        self._metrics.flush()

    def note_refusal(self, status: int, reason: str, *, counted: bool = True) -> None:
        """Log a refusal, and count it as one under load (503) or as the caller's error."""
        if counted:
            self._metrics.count("Refused" if status == 503 else "ClientErrors")
        log("refused", status=status, reason=reason)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _check_framing(scope)
            reply = await self._route(scope)(scope, receive)
        except RequestError as error:
            self.note_refusal(error.status, error.reason)
            reply = self._refusal(error)
        except Disconnected:
            return
        except ModelError as error:
            self._metrics.count("ServerErrors")
            log("failed", reason="model", message=str(error))
            reply = HttpReply.of_error(RequestError(500, "model", "the model failed on this photo"))
        # Logged by type and place only, because the message could contain bytes of the client.
        except Exception as error:
            self._metrics.count("ServerErrors")
            log("failed", reason="internal", error=type(error).__name__, at=_places(error))
            reply = HttpReply.of_error(RequestError(500, "internal", "the server failed; the fault is in its log"))
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [
                    (b"content-type", reply.media_type.encode()),
                    (b"content-length", str(len(reply.body)).encode()),
                    *reply.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": reply.body})
        if reply.then is not None:
            reply.then()

    def _refusal(self, error: RequestError) -> HttpReply:
        """The reply for an error. In a transform job its status is 200, because one bad photo must not fail the job."""
        reply = HttpReply.of_error(error)
        of_the_photo = error.status in _OF_THE_PHOTO and error.reason not in _OF_THE_JOB
        return replace(reply, status=200) if self._in_transform_job and of_the_photo else reply

    def _route(self, scope: Scope) -> Callable[[Scope, Receive], Awaitable[HttpReply]]:
        method, path = scope["method"], scope["path"]
        if handler := self._routes.get((method, path)):
            return handler
        if allowed := [verb for verb, known in self._routes if known == path]:
            raise RequestError(405, "method", f"{path} takes {allowed[0]} only", [("allow", allowed[0])])
        raise RequestError(404, "path", "there are /ping, /invocations, /execution-parameters and /openapi.json")

    async def _ping(self, scope: Scope, receive: Receive) -> HttpReply:
        if not self._batcher.alive:
            raise RequestError(503, "stopped", "the network's thread has ended")
        return HttpReply(200)

    async def _execution_parameters(self, scope: Scope, receive: Receive) -> HttpReply:
        return HttpReply.of_json(
            {
                "MaxConcurrentTransforms": self._admission.limits.transforms(usable_cpus()),
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": TRANSFORM_MEGABYTES,
            }
        )

    async def _openapi(self, scope: Scope, receive: Receive) -> HttpReply:
        return HttpReply.of_json(document())

    async def _invocations(self, scope: Scope, receive: Receive) -> HttpReply:
        begun = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        accept = _text_of(headers, b"accept")
        choose_answer(accept)
        with self._admission.admit() as visit:
            reading = await self._read(headers, receive, visit)
            prediction = await self._predict(reading, visit)
        answered, media_type = output_fn(prediction, accept)
        total_ms = 1000 * (time.perf_counter() - begun)
        return HttpReply(200, answered, media_type, then=partial(self._observe, prediction, total_ms))

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, visit: Visit) -> Reading:
        """The photos of a request. Nothing holds the body of one that was parsed into them."""
        body = await visit.read_body(receive, _text_of(headers, b"content-length"))
        content_type = _text_of(headers, b"content-type")
        # A single image needs no parsing, so it is not worth a change of threads.
        if is_one_image(content_type):
            return input_fn(body, content_type)
        ticket: Ticket[Reading] = Ticket()

        def parse() -> None:
            try:
                ticket.deliver(input_fn(body, content_type))
            # Raised in a thread that is never joined, so the error is delivered to the request.
            except Exception as error:
                ticket.deliver(error)

        self._decoders.submit(parse, large=len(body) > _LARGE_BODY_BYTES)
        return await self._in_time(ticket.outcome(), visit)

    async def _predict(self, reading: Reading, visit: Visit) -> Prediction:
        begun = time.perf_counter()
        visit.hold_photos(len(reading.photos))
        outcomes = await self._in_time(self._score_all(reading.photos), visit)
        timed = [outcome for outcome in outcomes if isinstance(outcome, Scored)]
        results = [self._counter.answer(each.scores) if isinstance(each, Scored) else each for each in outcomes]
        return Prediction(
            tuple(results),
            reading.batch,
            self._counter.identity,
            {
                "decode": 1000 * (max((result.queued_at for result in timed), default=time.perf_counter()) - begun),
                "queue": max((result.queue_ms for result in timed), default=0.0),
                "model": max((result.model_ms for result in timed), default=0.0),
            },
        )

    async def _in_time(self, outcome: Awaitable[Outcome], visit: Visit) -> Outcome:
        """The outcome. Raises RequestError (503) where it comes too late for the client to wait."""
        try:
            async with asyncio.timeout_at(visit.until):
                return await outcome
        except TimeoutError:
            raise busy(f"{self._admission.photos} photos") from None

    async def _score_all(self, photos: Sequence[Photo | Refusal]) -> Sequence[Scored | Refusal]:
        if len(photos) == 1:
            return [await self._score(photos[0], lend=True)]
        room = asyncio.Semaphore(_AT_ONCE)

        async def score(photo: Photo | Refusal) -> Scored | Refusal:
            async with room:
                return await self._score(photo, lend=False)

        return await asyncio.gather(*(score(photo) for photo in photos))

    async def _score(self, photo: Photo | Refusal, *, lend: bool) -> Scored | Refusal:
        """Send a photo through a decoder thread to the network's thread, without the event loop in between.

        With `lend` the network's thread decodes it, if that thread rests.
        """
        if isinstance(photo, Refusal):
            return photo
        ticket: Ticket[Scored | Refusal] = Ticket()
        decode = partial(self._decode, photo, ticket)
        if not (lend and self._batcher.lend(decode)):
            self._decoders.submit(decode)
        return await ticket.outcome()

    def _decode(self, photo: Photo, ticket: Ticket[Scored | Refusal], *, in_turn: bool = False) -> None:
        if not ticket.awaited:
            return
        try:
            prepared: Photos | Opened | Refusal = self._counter.open(photo)
            if isinstance(prepared, Opened):
                if prepared.large and not in_turn:
                    self._decoders.submit(partial(self._decode, photo, ticket, in_turn=True), large=True)
                    return
                prepared = self._counter.decode(prepared)
            if isinstance(prepared, Refusal):
                ticket.deliver(prepared)
            else:
                self._batcher.enqueue(prepared, ticket.deliver)
        # Raised in a thread that is never joined, so the error is delivered to the request.
        except Exception as error:
            ticket.deliver(error)

    def _observe(self, prediction: Prediction, total_ms: float) -> None:
        parts = prediction.latency_ms
        self._metrics.observe(
            Latency=total_ms,
            DecodeLatency=parts["decode"],
            QueueLatency=parts["queue"],
            ModelLatency=parts["model"],
            Waiting=self._admission.requests,
        )
        for result in prediction.results:
            if isinstance(result, Answer):
                self._metrics.observe(PredictedCount=result.count, Confidence=result.confidence)
        self._metrics.count("Photos", len(prediction.results))


def _check_framing(scope: Scope) -> None:
    """Raises RequestError where a proxy before this server might see another end of the body (RFC 9112, 6.1)."""
    headers = dict(scope["headers"])
    if b"content-length" in headers and b"transfer-encoding" in headers:
        raise RequestError(
            400, "framing", "send Content-Length or Transfer-Encoding, not both", [("connection", "close")]
        )


def _text_of(headers: dict[bytes, bytes], name: bytes) -> str:
    """A header's value; nothing where the request has no such header."""
    return headers.get(name, b"").decode("latin-1")


def _places(error: Exception) -> list[str]:
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
