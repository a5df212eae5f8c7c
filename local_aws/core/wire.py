"""SageMaker's wire protocol (JSON 1.1): from an HTTP request to the handler of its operation, and back.

A request that contradicts botocore's input shape, or asks for what only AWS does, never reaches a handler; a reply that
contradicts the output shape never leaves. Timestamps are seconds since 1970 both ways, as AWS sends them.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from botocore.model import OperationNotFoundError

from local_aws.core.authorisation import authorise
from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.members import refuse_members
from local_aws.core.protocol import SAGEMAKER, TARGETS, Document, Reply
from local_aws.core.shapes import operation_model, violations, without_nulls
from local_aws.core.tags import refuse_doubled

_SERVICE_OF_PREFIX = {prefix: service for service, prefix in TARGETS.items()}
_log = logging.getLogger(__name__)


def call(
    context: Context, name: str, request: Document, service: str = SAGEMAKER, access_key: str | None = None
) -> Document:
    """Validate `request`, run the operation and validate its reply; raises `AwsError`.

    Every HTTP request ends here. CloudFormation handlers and pipeline steps call it directly, so that the same rules
    hold for them. In a thread that acts as a role, the role must have the permission; of an HTTP request, the holder
    of the `access_key` that signed it.
    """
    handler = context.operations.get((service, name))
    if handler is None:
        raise _unimplemented(name, service)
    model = operation_model(name, service)
    request = without_nulls(model.input_shape, request)
    wrong = violations(model.input_shape, request)
    if wrong:
        count = f"{len(wrong)} validation error{'s' if len(wrong) > 1 else ''} detected: "
        raise validation(count + "; ".join(wrong))
    # What a request needs is read from its members, so they must have their types.
    if context.enforce_iam and access_key is not None:
        authorise(context, access_key, service, name, request)
    refuse_members(name, request)
    if service == SAGEMAKER:
        refuse_doubled(request.get("Tags"))
    if context.acting_role:
        authorise(context, context.credentials()["AWS_ACCESS_KEY_ID"], service, name, request)
    with context.acting(None):
        reply = handler(context, request)
    wrong = violations(model.output_shape, reply)
    if wrong:
        raise AwsError("InternalFailure", f"local_aws answers {name} with a wrong shape: {'; '.join(wrong)}", 500)
    return reply


def describe(name: str, document: Document) -> Document:
    """The part of a stored document that SageMaker's Describe operation `name` shows."""
    members = _members(operation_model(name).output_shape)
    return {key: value for key, value in document.items() if key in members and value is not None}


def summarise(name: str, member: str, documents: list[Document], service: str = SAGEMAKER) -> list[Document]:
    """The parts of stored documents that the List operation `name` shows under `member`."""
    members = _members(_members(operation_model(name, service).output_shape)[member].member)
    return [{key: value for key, value in document.items() if key in members} for document in documents]


def dispatch(context: Context, target: str, body: bytes, access_key: str = "") -> Reply:
    """Answer one HTTP request whose `X-Amz-Target` is `target`, signed with `access_key`; never raises."""
    prefix, _, name = target.partition(".")
    service = _SERVICE_OF_PREFIX.get(prefix, SAGEMAKER)
    try:
        return json_reply(call(context, name, _decode(body), service, access_key))
    except AwsError as error:
        return error_reply(error)
    except Exception as error:
        _log.exception("%s failed", name)
        return error_reply(AwsError("InternalFailure", f"{name} failed inside local_aws: {error!r}", 500))


def json_reply(document: Document) -> Reply:
    """A successful reply."""
    return Reply(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode())


def error_reply(error: AwsError) -> Reply:
    """An error as SageMaker writes it."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": error.code}
    document = {"__type": error.code, "message": error.message}
    return Reply(error.status, headers, json.dumps(document).encode())


def _decode(body: bytes) -> Document:
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise AwsError("SerializationException", f"The request body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise AwsError("SerializationException", "The request body must be a JSON object")
    return request


def _members(shape: Any) -> dict[str, Any]:
    return dict(shape.members)


def _unimplemented(name: str, service: str) -> AwsError:
    try:
        operation_model(name, service)
    except OperationNotFoundError:
        return AwsError("UnknownOperationException", f"{service} has no operation {name!r}")
    return AwsError("NotImplemented", f"The local {service} does not implement {name}; AWS does", 501)
