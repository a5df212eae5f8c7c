"""A pipeline's Lambda step: invokes a function once, and takes what it returns as the step's output parameters.

As on AWS the step waits ten minutes for its function and no longer, and is not tried again. An output has the type that
the definition gives it; a nested value is text.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.pipelines.definition import PipelineStep
from local_aws.pipelines.parameters import Value
from local_aws.pipelines.step_work import StepFailure

LIMIT_VARIABLE: Final = "LOCAL_AWS_LAMBDA_STEP_SECONDS"
_LIMIT_SECONDS: Final = 600.0
_LONGEST_VALUE: Final = 1024


class LambdaTimeout(StepFailure):
    """The function did not end within the step's limit."""


def limit_seconds() -> float:
    """How long a step waits for its function; `LOCAL_AWS_LAMBDA_STEP_SECONDS` shortens AWS's 600."""
    return float(os.environ.get(LIMIT_VARIABLE, _LIMIT_SECONDS))


def invoke_function(context: Context, step: PipelineStep, function: str, arguments: Document) -> dict[str, Value]:
    """Invoke the function and wait for it; its declared outputs by their names. Raises `StepFailure`."""
    limit = limit_seconds()
    try:
        client = context.client("lambda", patience=limit)
        reply = client.invoke(FunctionName=function, Payload=json.dumps(arguments).encode())
        payload = json.loads(reply["Payload"].read() or b"null")
    except ReadTimeoutError as error:
        raise LambdaTimeout(f"ClientError: {function} did not end within the {limit:g} seconds of a step") from error
    except (ClientError, BotoCoreError, ValueError) as error:
        raise StepFailure(f"ClientError: Failed to invoke {function}: {error}") from error
    if "FunctionError" in reply:
        message = payload.get("errorMessage", payload) if isinstance(payload, dict) else payload
        raise StepFailure(f"ClientError: {function} failed: {message}")
    returned = payload if isinstance(payload, dict) else {}
    missing = sorted(step.outputs.keys() - returned.keys())
    if missing:
        raise StepFailure(f"ClientError: {function} did not return {', '.join(missing)}, which the step declares")
    return {name: _typed(name, kind, returned[name]) for name, kind in step.outputs.items()}


def metadata(function: str, outputs: dict[str, Value] | None = None) -> Document:
    """The step's Metadata, without outputs while the function runs."""
    shown = [{"Name": name, "Value": _text(value)} for name, value in (outputs or {}).items()]
    return {"Lambda": {"Arn": function, "OutputParameters": shown}}


def _typed(name: str, kind: str, value: Any) -> Value:
    """A returned value as the declared type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "String":
        typed: Value = _text(value)
    elif kind == "Float" and number:
        typed = float(value)
    elif (kind == "Integer" and number and isinstance(value, int)) or (kind == "Boolean" and isinstance(value, bool)):
        typed = value
    else:
        raise StepFailure(f"ClientError: output {name} is {value!r}, which is no {kind}")
    if len(_text(typed)) > _LONGEST_VALUE:
        raise StepFailure(f"ClientError: output {name} is longer than {_LONGEST_VALUE} characters")
    return typed


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
