"""The interface of a function: its environment, its report, and messages to people.

Each function reads its environment once a call, as a frozen dataclass of stacks/environments.py: the stack that deploys
the function writes the variables from the same class.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, get_origin, get_type_hints

from functions.aws import client

Kind = TypeVar("Kind")


class VariableError(Exception):
    """An environment variable of the function is missing or cannot be read; the message names it."""


_READERS: Mapping[Any, Callable[[str], Any]] = {str: str, int: int, float: float, tuple: str.split, Mapping: json.loads}


def read_environment(kind: type[Kind]) -> Kind:
    """Reads the environment variables that a dataclass declares.

    Fields are `str`, `int`, `float`, `tuple[str, ...]` (words between spaces) or a mapping (JSON).

    Raises:
        VariableError: a variable is missing or has another type.
    """
    hints = get_type_hints(kind)
    return kind(**{field.name: _value(field.name.upper(), hints[field.name]) for field in fields(kind)})  # type: ignore[arg-type]


def _value(name: str, hint: Any) -> Any:
    if name not in os.environ:
        raise VariableError(f"the environment variable {name} of the function is missing: deploy its stack again")
    text = os.environ[name]
    reader = _READERS[get_origin(hint) or hint]
    try:
        value = reader(text)
    except ValueError:
        raise VariableError(f"the environment variable {name} of the function cannot be read: {text!r}") from None
    return tuple(value) if reader is str.split else value


@dataclass(frozen=True)
class FunctionReport:
    """The decision of a function."""

    outcome: str
    """One or two words for programs, such as `left` or `started`."""
    reason: str

    def logged(self) -> dict[str, Any]:
        """Prints the report as one line and returns it as the function's result."""
        record = asdict(self)
        print(json.dumps(record))
        return record


def tell(topic: str, subject: str, message: str) -> None:
    """Sends a message to the people who look after the environment; SNS takes a subject of less than 100."""
    client("sns").publish(TopicArn=topic, Subject=subject[:99], Message=message)
