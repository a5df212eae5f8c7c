"""The data plane of asynchronous endpoints: InvokeEndpointAsync takes a request and says where its answer will be."""

from __future__ import annotations

import json

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.shapes import operation_model, violations
from local_aws.core.wire import Document, Reply
from local_aws.hosting.async_queue import async_queue_of
from local_aws.hosting.live_endpoints import FAMILY
from local_aws.ministack.hooks import Headers

_PREFIX = "x-amzn-sagemaker-"
_MEMBERS = {
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
_NUMBERS = {"RequestTTLSeconds", "InvocationTimeoutSeconds"}
_MAX_BODY = 128_000


def invoke_async(context: Context, endpoint_name: str, headers: Headers, body: bytes) -> Reply:
    """Queue a request; raises `AwsError` when it can never be answered."""
    endpoint = context.table(FAMILY).get(endpoint_name)
    if endpoint is None or endpoint["EndpointStatus"] in {"Creating", "Failed", "Deleting"}:
        raise AwsError("ValidationError", f"Endpoint {endpoint_name} of account {context.account} not found.")
    if not endpoint["Plan"].get("Async"):
        raise AwsError("ValidationError", f"Endpoint {endpoint_name} is not asynchronous; use InvokeEndpoint")
    request = _request(headers)
    if bool(body) == ("InputLocation" in request):
        raise AwsError("ValidationError", "Give exactly one of InputLocation and Body")
    if len(body) > _MAX_BODY:
        raise AwsError(
            "ValidationError", f"Body has {len(body)} bytes; at most {_MAX_BODY} are taken, use InputLocation"
        )
    wrong = violations(
        operation_model("InvokeEndpointAsync", "sagemaker-runtime").input_shape,
        request | {"EndpointName": endpoint_name},
    )
    if wrong:
        raise AwsError("ValidationError", "; ".join(wrong))
    stored = async_queue_of(context).put(endpoint, request | ({"Body": body.hex()} if body else {}))
    return Reply(
        202,
        {
            "content-type": "application/json",
            "X-Amzn-SageMaker-OutputLocation": stored["OutputLocation"],
            "X-Amzn-SageMaker-FailureLocation": stored["FailureLocation"],
        },
        json.dumps({"InferenceId": stored["InferenceId"]}).encode(),
    )


def _request(headers: Headers) -> Document:
    found: Document = {}
    for name, member in _MEMBERS.items():
        text = headers.get(_PREFIX + name)
        if text is not None:
            found[member] = int(text) if member in _NUMBERS and text.isdigit() else text
    return found
