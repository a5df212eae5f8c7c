"""Lambda functions of a few lines, and the steps of pipelines that invoke them."""

from __future__ import annotations

import io
import textwrap
import zipfile
from collections.abc import Mapping
from typing import Any

from tests.contract.jobs import ROLE, ClientFactory


def make_function(
    client: ClientFactory,
    name: str,
    body: str,
    role: str = ROLE,
    *,
    files: Mapping[str, str] | None = None,
    **members: Any,
) -> str:
    """A function whose handler has this body, with `event` and `context`, and files beside it; gives its ARN."""
    code = "def handler(event, context):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for path, text in {"code.py": code, **(files or {})}.items():
            packed.writestr(path, text)
    arn: str = client("lambda").create_function(
        FunctionName=name, Runtime="python3.14", Role=role, Handler="code.handler",
        Code={"ZipFile": archive.getvalue()}, **{"Timeout": 30, **members},
    )["FunctionArn"]  # fmt: skip
    return arn


def lambda_step(name: str, function: str, arguments: dict[str, Any] | None = None, /, **outputs: str) -> dict[str, Any]:
    """A Lambda step; `outputs` are the types of its output parameters."""
    return {
        "Name": name,
        "Type": "Lambda",
        "FunctionArn": function,
        "Arguments": arguments or {},
        "OutputParameters": [{"OutputName": key, "OutputType": kind} for key, kind in outputs.items()],
    }


def returned(step: str, output: str) -> dict[str, str]:
    """A reference to an output of a Lambda step."""
    return {"Get": f"Steps.{step}.OutputParameters['{output}']"}
