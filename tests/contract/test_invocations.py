"""What Lambda takes for an invocation and for a function's code."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.functions import make_function
from tests.contract.jobs import ROLE
from tests.contract.stacked import Stack

MIB = 1024 * 1024


def payload(size: int) -> bytes:
    """A JSON text of this size."""
    return json.dumps("x" * (size - 2)).encode()


def test_a_payload_has_a_largest_size(client: ClientFactory) -> None:
    """Another one for events."""
    make_function(client, "measures", "return len(event)")
    invoke = client("lambda").invoke
    assert json.loads(invoke(FunctionName="measures", Payload=payload(6 * MIB))["Payload"].read()) == 6 * MIB - 2
    assert invoke(FunctionName="measures", InvocationType="Event", Payload=payload(MIB))["StatusCode"] == 202
    for kind, size in (("RequestResponse", 6 * MIB + 1), ("Event", MIB + 1)):
        with pytest.raises(ClientError, match=rf"RequestTooLargeException.*{kind} invocation type"):
            invoke(FunctionName="measures", InvocationType=kind, Payload=payload(size))


def test_a_payload_is_json(client: ClientFactory) -> None:
    make_function(client, "echoes", "return event")
    invoke = client("lambda").invoke
    with pytest.raises(ClientError, match=r"InvalidRequestContentException.*Could not parse request body into json"):
        invoke(FunctionName="echoes", Payload=b"{count: 3}")
    for text in (b"", b"null", b'"text"', b"[1]"):
        assert invoke(FunctionName="echoes", Payload=text)["StatusCode"] == 200


def test_an_answer_that_is_too_large_is_a_failure_of_the_function(client: ClientFactory) -> None:
    make_function(client, "answers", "return 'x' * event")
    invoke = client("lambda").invoke
    reply = invoke(FunctionName="answers", Payload=str(6 * MIB + 99).encode())
    assert reply["FunctionError"] == "Unhandled"
    assert json.loads(reply["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"
    assert "FunctionError" not in invoke(FunctionName="answers", Payload=str(6 * MIB).encode())


def test_a_stacks_function_has_its_code_in_s3(client: ClientFactory) -> None:
    """When it is made, and when its code changes; other changes do not look for it."""
    client("s3").create_bucket(Bucket="assets")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", "def handler(event, context):\n    return 1\n")
    client("s3").put_object(Bucket="assets", Key="there.zip", Body=packed.getvalue())

    def template(key: str, **more: Any) -> dict[str, Any]:
        code = {"S3Bucket": "assets", "S3Key": key}
        properties = {"Runtime": "python3.14", "Handler": "index.handler", "Role": ROLE, "Code": code, **more}
        return {"Resources": {"Function": {"Type": "AWS::Lambda::Function", "Properties": properties}}}

    without, stack = Stack(client, "without-code"), Stack(client, "with-code")
    assert without.create(template("gone.zip")) == "ROLLBACK_COMPLETE"
    assert "GetObject of s3://assets/gone.zip. S3 Error Code: NoSuchKey" in without.reasons()
    without.delete()
    assert stack.create(template("there.zip")) == "CREATE_COMPLETE", stack.reasons()
    assert stack.update(template("gone.zip")) == "UPDATE_ROLLBACK_COMPLETE"
    client("s3").delete_object(Bucket="assets", Key="there.zip")
    assert stack.update(template("there.zip", Timeout=9)) == "UPDATE_COMPLETE", stack.reasons()
    stack.delete()
