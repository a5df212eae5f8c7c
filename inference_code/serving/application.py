"""The ASGI application: routes, errors, and the path of a request through decoding, batching and answering."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from inference import CountingModel, input_fn, output_fn
from serving.admission import Admission, AdmissionLimits, Disconnected, Message, Receive, Visit
from serving.answers import Answer, Prediction, Refusal
from serving.cores import usable_cpus
from serving.micro_batching import MicroBatcher, Scored
from serving.network import ModelError
from serving.openapi import document
from serving.requests import JSON, Photo, RequestError, choose_answer, is_one_image
from serving.telemetry import Metrics, log
from serving.tickets import Ticket

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BATCH: Final = 8
# Refusals because of a photo, not of its request.
_OF_THE_PHOTO: Final = {400, 413, 415}
# Content types that batch transform may send: its records are whole photos.
_TRANSFORM_MEGABYTES: Final = 6


@dataclass(frozen=True)
class HttpReply:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

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
        self._admission = Admission(limits)
        self._decoders = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="decoder")
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
        """Answer waiting requests, then end the threads and write the last metrics."""
        self._batcher.close()
        self._decoders.shutdown()
        self._metrics.flush()

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
            reply = await self._route(scope)(scope, receive)
        except RequestError as error:
            self._metrics.count("Refused" if error.status == 503 else "ClientErrors")
            log("refused", status=error.status, reason=error.reason)
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

    def _refusal(self, error: RequestError) -> HttpReply:
        """The reply for an error. In a transform job its status is 200, because one bad photo must not fail the job."""
        reply = HttpReply.of_error(error)
        return replace(reply, status=200) if self._in_transform_job and error.status in _OF_THE_PHOTO else reply

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
                "MaxConcurrentTransforms": min(self._admission.limits.requests, 2 * usable_cpus()),
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": _TRANSFORM_MEGABYTES,
            }
        )

    async def _openapi(self, scope: Scope, receive: Receive) -> HttpReply:
        return HttpReply.of_json(document())

    async def _invocations(self, scope: Scope, receive: Receive) -> HttpReply:
        begun = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        accept = headers.get("accept", "")
        choose_answer(accept)
        with self._admission.admit() as visit:
            body = await visit.read_body(receive, headers.get("content-length"))
            prediction = await self._predict(body, headers.get("content-type", ""), visit)
        answered, media_type = output_fn(prediction, accept)
        self._observe(prediction, 1000 * (time.perf_counter() - begun))
        return HttpReply(200, answered, media_type)

    async def _predict(self, body: bytes, content_type: str, visit: Visit) -> Prediction:
        begun = time.perf_counter()
        run = asyncio.get_running_loop().run_in_executor
        # A single image needs no parsing, so it is not worth a change of threads.
        reading = (
            input_fn(body, content_type)
            if is_one_image(content_type)
            else await run(self._decoders, input_fn, body, content_type)
        )
        visit.hold_photos(len(reading.photos))
        tickets = [self._send(photo) for photo in reading.photos]
        outcomes = await asyncio.gather(*(ticket.outcome() for ticket in tickets))
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

    def _send(self, photo: Photo) -> Ticket[Scored | Refusal]:
        """Send a photo through a decoder thread to the network's thread, without the event loop in between."""
        ticket: Ticket[Scored | Refusal] = Ticket()
        self._decoders.submit(self._decode, photo, ticket)
        return ticket

    def _decode(self, photo: Photo, ticket: Ticket[Scored | Refusal]) -> None:
        try:
            prepared = self._counter.prepare(photo)
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


def _places(error: Exception) -> list[str]:
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
