"""A function with more environment variables than Lambda takes.

Uses `core.responses.error_response_json` of version 1.5.33; tests/contract/test_hooks.py fails if it moved when
ministack is upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from local_aws.ministack.refusals import FUNCTIONS, Answer, before_writing
from local_aws.ministack.stack_resources import Properties, refuse_invalid

_MOST_BYTES: Final = 4096


def refuse_long_variables() -> None:
    """Refuse a function whose variables are longer than 4 KB, by request and in stacks."""
    from ministack.core.responses import error_response_json

    def refusal(asked: Properties) -> Answer | None:
        wrong = _problem(asked)
        return error_response_json("InvalidParameterValueException", wrong, 400) if wrong else None

    before_writing("lambda", FUNCTIONS, refusal)
    refuse_invalid("AWS::Lambda::Function", _problem)


def _problem(asked: Properties) -> str:
    """Lambda measures the variables as JSON, with the quotation marks and their escapes."""
    environment = asked.get("Environment")
    variables = environment.get("Variables") if isinstance(environment, Mapping) else None
    measured = json.dumps(variables or {}, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) <= _MOST_BYTES:
        return ""
    return (
        "Lambda was unable to configure your environment variables because the environment variables you have "
        f"provided exceeded the 4KB limit. String measured: {measured}"
    )
