"""The queue of asynchronous endpoints, whose answers go to S3."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.objects import S3Uri, encryption
from local_aws.core.protocol import Document
from local_aws.hosting.autoscaling import AsyncScaling
from local_aws.hosting.fleet import Fleet
from local_aws.hosting.instance import Instance
from local_aws.hosting.live_endpoints import FAMILY as ENDPOINTS
from local_aws.hosting.live_endpoints import Endpoints

FAMILY = "AsyncRequest"
_AT_ONCE = 32
_LOOK_SECONDS = 0.1
_BUSY_SECONDS = 0.02
_DEFAULT_TTL = 21_600
_DEFAULT_TIMEOUT = 900
_DEFAULT_AT_ONCE = 4
_log = logging.getLogger(__name__)


def container_error(variant: str, status: int, text: str) -> str:
    """What SageMaker says of an error of a variant's container, and of one that gives no answer: status 0.

    Seen: https://github.com/awsdocs/amazon-sagemaker-developer-guide/issues/203
    """
    side = "client" if 400 <= status < 500 else "server"
    return f'Received {side} error ({status}) from {variant} with message "{text}"'


class AsyncQueue:
    """The requests that wait at all asynchronous endpoints; stored, so that a restart loses none."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="async-inference")
        self._started: dict[str, str] = {}
        self._lock = threading.Lock()
        self._http = urllib3.PoolManager(maxsize=_AT_ONCE, retries=False)
        self._scaling = AsyncScaling(context)
        context.on_stop(lambda: self._pool.shutdown(wait=False, cancel_futures=True))
        context.start_thread("asynchronous endpoints", self._run)

    def put(self, endpoint: Document, request: Document) -> Document:
        """Queue a request; returns it with the locations of its answer and of its failure."""
        output = endpoint["Plan"]["Async"]["OutputConfig"]
        identifier = uuid.uuid4().hex
        name = request.pop("Filename", None) or f"{identifier}.out"
        extension = request.pop("S3OutputPathExtension", "").strip("/")
        folder = "/".join(part for part in (output["S3OutputPath"].rstrip("/"), extension) if part)
        failures = output.get("S3FailurePath", output["S3OutputPath"]).rstrip("/")
        stored = request | {
            "Id": identifier,
            "EndpointName": endpoint["EndpointName"],
            "InferenceId": request.get("InferenceId") or str(uuid.uuid4()),
            "OutputLocation": f"{folder}/{name}",
            "FailureLocation": f"{failures}/{identifier}-error.out",
            "Received": self._context.now(),
        }
        self._context.table(FAMILY).put(identifier, stored)
        return stored

    def _run(self) -> None:
        while not self._context.stopping.wait(_LOOK_SECONDS):
            waiting = self._context.table(FAMILY).all()
            asynchronous = self._asynchronous()
            self._forget_others(waiting, asynchronous)
            for name, endpoint in asynchronous.items():
                mine = [request for request in waiting if request["EndpointName"] == name]
                self._start(endpoint, mine)
                self._scaling.look(endpoint, len(mine))

    def _asynchronous(self) -> dict[str, Document]:
        return {name: item for name, item in self._context.table(ENDPOINTS).items() if item["Plan"].get("Async")}

    def _forget_others(self, waiting: list[Document], asynchronous: Collection[str]) -> None:
        """A queue ends with its endpoint: another of that name must not answer its requests."""
        for request in waiting:
            if request["EndpointName"] not in asynchronous:
                self._context.table(FAMILY).delete(request["Id"])

    def _start(self, endpoint: Document, waiting: list[Document]) -> None:
        """Start as many requests as the instances take at a time, the oldest first."""
        name = endpoint["EndpointName"]
        client = endpoint["Plan"]["Async"].get("ClientConfig", {})
        instances = sum(
            variant["CurrentInstanceCount"] for variant in self._context.shared(Endpoints).variants(name).values()
        )
        room = instances * client.get("MaxConcurrentInvocationsPerInstance", _DEFAULT_AT_ONCE)
        with self._lock:
            room -= sum(started == name for started in self._started.values())
            fresh = [request for request in waiting if request["Id"] not in self._started]
            for request in fresh:
                expired = self._context.now() - request["Received"] > request.get("RequestTTLSeconds", _DEFAULT_TTL)
                if room <= 0 and not expired:
                    continue
                room -= 1
                self._started[request["Id"]] = name
                self._pool.submit(self._process, endpoint, request, expired)

    def _process(self, endpoint: Document, request: Document, expired: bool) -> None:
        variant = endpoint["Plan"]["Variants"][0]
        try:
            with self._context.acting(variant.get("Role")):
                self._finish(endpoint, request, "the request expired in the queue" if expired else None)
        except Exception as error:  # a request that ends without an answer says so
            _log.warning("the answer to %s was not stored: %s", request["Id"], error, exc_info=True)
            self._notify(endpoint, request, failure=f"the answer was not stored: {error}")
        finally:
            if not self._context.stopping.is_set():
                self._context.table(FAMILY).delete(request["Id"])
            with self._lock:
                self._started.pop(request["Id"], None)

    def _finish(self, endpoint: Document, request: Document, failure: str | None) -> None:
        answer: urllib3.BaseHTTPResponse | None = None
        if failure is None:
            try:
                answer = self._send(request)
            except urllib3.exceptions.HTTPError as error:
                failure = container_error(_variant(endpoint), 0, f"could not get a response: {error}")
            except (ClientError, BotoCoreError, AwsError) as error:
                failure = str(error)
        if answer is None and self._context.stopping.is_set():
            return  # the next start answers it
        key = endpoint["Plan"]["Async"]["OutputConfig"].get("KmsKeyId")
        if answer is not None and (failure := _failure_in(answer, _variant(endpoint))) is None:
            self._store(request["OutputLocation"], answer.data, answer.headers.get("content-type"), key)
            self._notify(endpoint, request, content_type=answer.headers.get("content-type"))
            return
        self._store(request["FailureLocation"], str(failure).encode(), "text/plain", key)
        self._notify(endpoint, request, failure=failure)

    def _send(self, request: Document) -> urllib3.BaseHTTPResponse:
        body, content_type = self._input(request)
        fleet, instance = self._instance(request["EndpointName"])
        wanted = {
            "Content-Type": request.get("ContentType") or content_type,
            "Accept": request.get("Accept"),
            "X-Amzn-SageMaker-Custom-Attributes": request.get("CustomAttributes"),
            "X-Amzn-SageMaker-Inference-Id": request["InferenceId"],
        }
        started = time.perf_counter()
        try:
            answer = self._http.request(
                "POST",
                f"http://127.0.0.1:{instance.port}/invocations",
                body=body,
                headers={name: value for name, value in wanted.items() if value},
                timeout=float(request.get("InvocationTimeoutSeconds", _DEFAULT_TIMEOUT)),
            )
        finally:
            instance.release()
        put, dimensions = self._context.metrics.put, fleet.spec.dimensions
        # As on AWS, which publishes no Invocations of asynchronous endpoints.
        put("AWS/SageMaker", "InvocationsProcessed", 1, dimensions, unit="Count")
        put("AWS/SageMaker", "Invocation4XXErrors", float(400 <= answer.status < 500), dimensions, unit="None")
        put("AWS/SageMaker", "Invocation5XXErrors", float(answer.status >= 500), dimensions, unit="None")
        microseconds = (time.perf_counter() - started) * 1e6
        put("AWS/SageMaker", "ModelLatency", microseconds, dimensions, unit="Microseconds")
        return answer

    def _instance(self, endpoint: str) -> tuple[Fleet, Instance]:
        """An instance for one request, as soon as one is free."""
        while (found := self._context.shared(Endpoints).take(endpoint, None)) is None:
            if self._context.table(ENDPOINTS).get(endpoint) is None:
                raise AwsError("ValidationError", f"Endpoint {endpoint} was deleted")
            if self._context.stopping.wait(_BUSY_SECONDS):
                raise AwsError("ServiceUnavailable", "the local AWS stops", 503)
        return found

    def _input(self, request: Document) -> tuple[bytes, str | None]:
        """The body, and the content type of the object that holds it."""
        if "Body" in request:
            return bytes.fromhex(request["Body"]), None
        where = S3Uri.parse(request["InputLocation"])
        found = self._context.client("s3").get_object(Bucket=where.bucket, Key=where.key)
        return found["Body"].read(), found.get("ContentType")

    def _store(self, uri: str, body: bytes, content_type: str | None, key: str | None) -> None:
        where = S3Uri.parse(uri)
        self._context.client("s3").put_object(
            Bucket=where.bucket,
            Key=where.key,
            Body=body,
            ContentType=content_type or "application/octet-stream",
            **encryption(key),
        )

    def _notify(
        self, endpoint: Document, request: Document, *, failure: str | None = None, content_type: str | None = None
    ) -> None:
        topics = endpoint["Plan"]["Async"]["OutputConfig"].get("NotificationConfig", {})
        topic = topics.get("ErrorTopic" if failure else "SuccessTopic")
        if not topic:
            return
        parameters = {"endpointName": request["EndpointName"], "inputLocation": request.get("InputLocation", "")}
        message: Document = {
            "awsRegion": self._context.region,
            "receivedTime": request["Received"],
            "eventTime": self._context.now(),
            "invocationStatus": "Failed" if failure else "Completed",
            "requestParameters": parameters,
            "inferenceId": request["InferenceId"],
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        where = request["FailureLocation" if failure else "OutputLocation"]
        message |= {"responseParameters": {"contentType": content_type or "text/plain", "outputLocation": where}}
        message |= {"failureReason": failure} if failure else {}
        try:
            self._context.client("sns").publish(TopicArn=topic, Message=json.dumps(message))
        except (AwsError, ClientError, BotoCoreError) as error:
            _log.warning("no notification of %s, whose answer is stored, as on AWS: %s", request["Id"], error)


def _failure_in(answer: urllib3.BaseHTTPResponse, variant: str) -> str | None:
    """Why a container's answer is none."""
    if answer.status != HTTPStatus.OK:
        return container_error(variant, answer.status, answer.data[:1024].decode("utf-8", "replace"))
    if "content-length" not in answer.headers:
        # Seen: https://github.com/deepjavalibrary/djl-serving/issues/2567
        return f"The response from container {variant} did not specify the required Content-Length header"
    return None


def _variant(endpoint: Document) -> str:
    return str(endpoint["Plan"]["Variants"][0]["VariantName"])


def resume(context: Context) -> None:
    """Continue with the requests that waited when the local AWS stopped, and with scaling to zero."""
    if any(item["Plan"].get("Async") for item in context.table(ENDPOINTS).all()):
        context.shared(AsyncQueue)
