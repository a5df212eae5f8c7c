"""InvokeEndpoint and InvokeEndpointAsync: a request goes to an instance, or into the queue of its endpoint."""

from __future__ import annotations

import asyncio
import json
import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from botocore.model import StructureShape

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, not_local
from local_aws.core.protocol import Document, Headers, Reply
from local_aws.core.shapes import operation_model, violations
from local_aws.hosting.async_queue import AsyncQueue, container_error
from local_aws.hosting.data_capture import CapturedMessage
from local_aws.hosting.fleet import Fleet
from local_aws.hosting.instance import LOG_GROUP, Instance
from local_aws.hosting.live_endpoints import FAMILY, Endpoints
from local_aws.hosting.serverless import COLD_START_SECONDS

if TYPE_CHECKING:
    import httpx

NAMESPACE = "AWS/SageMaker"
_MODEL_SECONDS = 60.0  # SageMaker's limit for one response
_WAIT_FOR_INSTANCE = 2.0
_INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_FORWARDED = {
    "content-type": "Content-Type",
    "accept": "Accept",
    "x-amzn-sagemaker-custom-attributes": "X-Amzn-SageMaker-Custom-Attributes",
    _INFERENCE_ID: "X-Amzn-SageMaker-Inference-Id",
}
_NOT_LOCAL = (
    "X-Amzn-SageMaker-Enable-Explanations",
    "X-Amzn-SageMaker-Inference-Component",
    "X-Amzn-SageMaker-Prefix-Aware-Id",
    "X-Amzn-SageMaker-Session-Id",
    "X-Amzn-SageMaker-Target-Container-Hostname",
    "X-Amzn-SageMaker-Target-Model",
)
"""Of models of several containers, sessions, explainers and inference components, none of which runs here."""
_ASYNC_PREFIX = "x-amzn-sagemaker-"
_ASYNC_MEMBERS = {
    "content-type": "ContentType",
    "accept": "Accept",
    "custom-attributes": "CustomAttributes",
    "inference-id": "InferenceId",
    "inputlocation": "InputLocation",
    "s3outputpathextension": "S3OutputPathExtension",
    "filename": "Filename",
    "requestttlseconds": "RequestTTLSeconds",
    "invocationtimeoutseconds": "InvocationTimeoutSeconds",
}
_ASYNC_NUMBERS = {"RequestTTLSeconds", "InvocationTimeoutSeconds"}
MAX_ASYNC_BODY = 128_000
_clients: dict[int, httpx.AsyncClient] = {}


class _TimedResponse(NamedTuple):
    response: httpx.Response
    seconds: float


class ModelError(AwsError):
    """The container returned an error, or no response."""

    def __init__(self, context: Context, fleet: Fleet, instance: Instance, status: int, text: str) -> None:
        stream = f"{LOG_GROUP}/{fleet.spec.endpoint}"
        message = (
            f"{container_error(fleet.name, status, text)}. "
            f"See log group {stream}, stream {fleet.name}/{instance.id}, of account {context.account}."
        )
        super().__init__("ModelError", message, 424)
        self.extra = {
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:aws:logs:{context.region}:{context.account}:log-group:{stream}",
        }


async def invoke(context: Context, endpoint_name: str, headers: Headers, body: bytes) -> Reply:
    """Forward a request to an instance of the endpoint; raises `AwsError` when none can answer it."""
    started = time.perf_counter()
    _check_headers(endpoint_name, headers)
    if context.shared(Endpoints).is_asynchronous(endpoint_name):
        raise AwsError("ValidationError", f"Endpoint {endpoint_name} is asynchronous; use InvokeEndpointAsync")
    fleet, instance = await _take(context, endpoint_name, headers.get("x-amzn-sagemaker-target-variant"))
    try:
        if len(body) > fleet.max_body:
            raise fleet.oversize(len(body))
        timed = await _forward(context, fleet, instance, headers, body)
    finally:
        instance.release()
    response = timed.response
    _measure(context, fleet, response.status_code, timed.seconds, time.perf_counter() - started)
    if not response.is_success:
        raise ModelError(context, fleet, instance, response.status_code, response.text[:1024])
    content_type = response.headers.get("content-type", "application/octet-stream")
    if capture := context.shared(Endpoints).capture(endpoint_name):
        request = CapturedMessage(body, headers.get("content-type", "application/octet-stream"))
        answer, inference_id = CapturedMessage(response.content, content_type), headers.get(_INFERENCE_ID)
        capture.record(fleet.name, fleet.spec.role, request, answer, inference_id)
    reply_headers = {
        # In lower case, because ministack changes `Content-Type: application/json` to `application/x-amz-json-1.1`.
        "content-type": content_type,
        "x-Amzn-Invoked-Production-Variant": fleet.name,
    }
    custom = response.headers.get("x-amzn-sagemaker-custom-attributes")
    if custom:
        reply_headers["X-Amzn-SageMaker-Custom-Attributes"] = custom
    return Reply(200, reply_headers, response.content)


def _check_headers(endpoint_name: str, headers: Headers) -> None:
    """Refuse what does not run here, and what contradicts the operation's model, whose members are headers."""
    for name in _NOT_LOCAL:
        if name.lower() in headers:
            raise not_local(f"{name} does not run locally", "leave it out of the request")
    given = {member: headers[name] for member, name in _header_names().items() if name in headers}
    if wrong := violations(_shape(), {"EndpointName": endpoint_name, "Body": ""} | given):
        raise AwsError("ValidationError", "; ".join(wrong))


@cache
def _header_names() -> dict[str, str]:
    """The header of each member of a request; the same for every request."""
    return {member: str(found.serialization.get("name", "")).lower() for member, found in _shape().members.items()}


def _shape() -> StructureShape:
    shape = operation_model("InvokeEndpoint", "sagemaker-runtime").input_shape
    assert shape is not None, "the operation has an input"
    return shape


def invoke_async(context: Context, endpoint_name: str, headers: Headers, body: bytes) -> Reply:
    """Queue a request; raises `AwsError` when the endpoint cannot take it."""
    endpoint = context.table(FAMILY).get(endpoint_name)
    if endpoint is None or endpoint["EndpointStatus"] in {"Creating", "Failed", "Deleting"}:
        raise AwsError("ValidationError", f"Endpoint {endpoint_name} of account {context.account} not found.")
    if not endpoint["Plan"].get("Async"):
        raise AwsError("ValidationError", f"Endpoint {endpoint_name} is not asynchronous; use InvokeEndpoint")
    request = _async_request(headers)
    if bool(body) == ("InputLocation" in request):
        raise AwsError("ValidationError", "Give exactly one of InputLocation and Body")
    if len(body) > MAX_ASYNC_BODY:
        raise AwsError(
            "ValidationError", f"Body has {len(body)} bytes; at most {MAX_ASYNC_BODY} are taken, use InputLocation"
        )
    wrong = violations(
        operation_model("InvokeEndpointAsync", "sagemaker-runtime").input_shape,
        request | {"EndpointName": endpoint_name},
    )
    if wrong:
        raise AwsError("ValidationError", "; ".join(wrong))
    stored = context.shared(AsyncQueue).put(endpoint, request | ({"Body": body.hex()} if body else {}))
    return Reply(
        202,
        {
            "content-type": "application/json",
            "X-Amzn-SageMaker-OutputLocation": stored["OutputLocation"],
            "X-Amzn-SageMaker-FailureLocation": stored["FailureLocation"],
        },
        json.dumps({"InferenceId": stored["InferenceId"]}).encode(),
    )


def model_error_reply(error: ModelError) -> Reply:
    """A ModelError as SageMaker Runtime writes it."""
    document = {"Message": error.message, **error.extra}
    return Reply(
        error.status,
        {"Content-Type": "application/json", "x-amzn-ErrorType": error.code},
        json.dumps(document).encode(),
    )


async def _take(context: Context, name: str, variant: str | None) -> tuple[Fleet, Instance]:
    deadline = time.monotonic() + _WAIT_FOR_INSTANCE
    endpoints = context.shared(Endpoints)
    while True:
        found = endpoints.take(name, variant)
        if found is not None:
            return found
        document = await asyncio.to_thread(context.table(FAMILY).get, name)
        if document is None or document["EndpointStatus"] in {"Creating", "Failed", "Deleting"}:
            raise AwsError("ValidationError", f"Endpoint {name} of account {context.account} not found.")
        names = [item["VariantName"] for item in document["Plan"]["Variants"]]
        if variant is not None and variant not in names:
            raise AwsError("ValidationError", f"Endpoint {name} has no variant {variant}; it has {', '.join(names)}")
        if time.monotonic() > deadline + (COLD_START_SECONDS if _is_cold(document, variant) else 0.0):
            raise AwsError("ServiceUnavailable", f"Endpoint {name} has no healthy instance at the moment", 503)
        await asyncio.sleep(0.05)


def _is_cold(document: Document, variant: str | None) -> bool:
    """Whether the request may wait for a serverless variant to start."""
    variants = document["Plan"]["Variants"]
    return any(item.get("ServerlessConfig") for item in variants if variant in (None, item["VariantName"]))


async def _forward(context: Context, fleet: Fleet, instance: Instance, headers: Headers, body: bytes) -> _TimedResponse:
    import httpx  # takes a fifth of a second, once

    forwarded = {title: headers[name] for name, title in _FORWARDED.items() if name in headers}
    url = f"http://127.0.0.1:{instance.port}/invocations"
    started = time.perf_counter()
    try:
        response = await _client().post(url, content=body, headers=forwarded)
    except httpx.TimeoutException:
        _measure(context, fleet, 504, _MODEL_SECONDS, _MODEL_SECONDS)
        text = f"Your invocation timed out while waiting for a response from container {fleet.name}"
        raise ModelError(context, fleet, instance, 0, text) from None
    except httpx.TransportError:
        spent = time.perf_counter() - started
        _measure(context, fleet, 502, spent, spent)
        # Seen: https://github.com/aws/amazon-sagemaker-examples/issues/2815
        text = f"Amazon SageMaker could not get a response from the {fleet.spec.endpoint} endpoint."
        raise ModelError(context, fleet, instance, 0, text) from None
    return _TimedResponse(response, time.perf_counter() - started)


def _client() -> httpx.AsyncClient:
    """The HTTP client of this event loop. It closes idle connections before a server would."""
    import httpx

    loop = id(asyncio.get_running_loop())
    if loop not in _clients:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=1.0)
        _clients[loop] = httpx.AsyncClient(limits=limits, timeout=_MODEL_SECONDS, trust_env=False)
    return _clients[loop]


def _measure(context: Context, fleet: Fleet, status: int, model_seconds: float, seconds: float) -> None:
    dimensions = {"EndpointName": fleet.spec.endpoint, "VariantName": fleet.name}
    put = context.metrics.put
    put(NAMESPACE, "Invocations", 1, dimensions, unit="None")
    put(NAMESPACE, "InvocationsPerInstance", 1 / max(1, fleet.count), dimensions, unit="None")
    put(NAMESPACE, "Invocation4XXErrors", float(400 <= status < 500), dimensions, unit="None")
    put(NAMESPACE, "Invocation5XXErrors", float(status >= 500), dimensions, unit="None")
    put(NAMESPACE, "InvocationModelErrors", float(status >= 400), dimensions, unit="None")
    put(NAMESPACE, "ModelLatency", model_seconds * 1e6, dimensions, unit="Microseconds")
    put(NAMESPACE, "OverheadLatency", (seconds - model_seconds) * 1e6, dimensions, unit="Microseconds")


def _async_request(headers: Headers) -> Document:
    found: Document = {}
    for name, member in _ASYNC_MEMBERS.items():
        text = headers.get(_ASYNC_PREFIX + name)
        if text is not None:
            found[member] = int(text) if member in _ASYNC_NUMBERS and text.isdecimal() else text
    return found
