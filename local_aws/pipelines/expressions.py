"""The expressions of a pipeline definition: references, `Std:Join`, `Std:JsonGet` and conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_TOKEN = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")

_EXPRESSIONS = ("Get", "Std:Join", "Std:JsonGet")
JsonReader = Callable[[str, str], Any]
"""Reads a property file: (step, name of the property file) -> decoded JSON."""


class ExpressionError(Exception):
    """An expression without a value; the message becomes the step's FailureReason."""


def is_expression(value: Any) -> bool:
    """Whether a value of a definition is replaced by another one when its step runs."""
    return isinstance(value, dict) and len(value) == 1 and not value.keys().isdisjoint(_EXPRESSIONS)


def parse_path(text: str) -> list[str | int]:
    """`Outputs['train'].S3Output.Values[0]` -> ["Outputs", "train", "S3Output", "Values", 0]."""
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"Cannot read the path {text!r} at {text[position:]!r}")
        name, index, single, double = match.groups()
        parts.append(int(index) if index is not None else next(x for x in (name, single, double) if x is not None))
        position = match.end()
    if not parts:
        raise ExpressionError("An empty path names nothing")
    return parts


def look_up(document: Any, path: list[str | int], shown: str) -> Any:
    """The value at `path`. In a list, a text selects the item with that name, as in `Outputs['train']`."""
    found = document
    for part in path:
        if (isinstance(found, dict) and part in found) or _has_index(found, part):
            found = found[part]
        elif isinstance(found, list) and isinstance(part, str):
            named = [item for item in found if isinstance(item, dict) and _names(item, part)]
            if not named:
                raise ExpressionError(f"{shown}: nothing is named {part!r}")
            found = named[0]
        else:
            raise ExpressionError(f"{shown}: {part!r} does not exist")
    return found


def _has_index(found: Any, part: str | int) -> bool:
    return isinstance(found, list) and isinstance(part, int) and part < len(found)


def _names(item: dict[str, Any], name: str) -> bool:
    return any(key.endswith("Name") and value == name for key, value in item.items())


class Resolver:
    """Replaces expressions by their values.

    Args:
        parameters: pipeline parameters by name.
        execution: the values of `Execution.`.
        steps: properties of the steps that have ended, by name.
        read_json: reads property files.
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        execution: dict[str, Any],
        steps: dict[str, Any],
        read_json: JsonReader,
    ) -> None:
        self._parameters = parameters
        self._execution = execution
        self._steps = steps
        self._read_json = read_json

    def resolve(self, value: Any) -> Any:
        """`value` with every expression replaced by its value. Raises `ExpressionError`."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Get"}:
            return self._get(value["Get"])
        if value.keys() == {"Std:Join"}:
            join = value["Std:Join"]
            return str(join.get("On", "")).join(_text(self.resolve(item)) for item in join["Values"])
        if value.keys() == {"Std:JsonGet"}:
            return self._json_get(value["Std:JsonGet"])
        return {key: self.resolve(item) for key, item in value.items()}

    def holds(self, condition: dict[str, Any]) -> bool:
        """Whether one condition of a Condition step is true. Raises `ExpressionError` if it has no value."""
        kind = condition["Type"]
        if kind == "Not":
            return not self.holds(condition["Condition"])
        if kind == "Or":
            return any(self.holds(item) for item in condition["Conditions"])
        if kind == "In":
            return bool(self.resolve(condition["QueryValue"]) in self.resolve(condition["Values"]))
        left, right = self.resolve(condition["LeftValue"]), self.resolve(condition["RightValue"])
        if kind == "Equals":
            return bool(left == right)
        try:
            return bool(_ORDER[kind](left, right))
        except TypeError:
            raise ExpressionError(f"{kind} cannot compare {left!r} with {right!r}") from None

    def _get(self, reference: str) -> Any:
        head, *rest = parse_path(reference)
        if head == "Parameters" and rest:
            return look_up(self._parameters, rest, reference)
        if head == "Execution" and rest:
            return look_up(self._execution, rest, reference)
        if head == "Steps" and rest:
            name = rest[0]
            if name not in self._steps:
                raise ExpressionError(f"{reference}: step {name} has not run")
            return look_up(self._steps[str(name)], rest[1:], reference)
        raise ExpressionError(f"{reference}: a reference starts with Parameters., Steps. or Execution.")

    def _json_get(self, expression: dict[str, Any]) -> Any:
        step, file = property_file_of(expression)
        return look_up(
            self._read_json(step, file), parse_path(str(expression["Path"])), f"{file}: {expression['Path']}"
        )


_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
CONDITION_TYPES = frozenset({*_ORDER, "Equals", "In", "Not", "Or"})


def property_file_of(expression: dict[str, Any]) -> tuple[str, str]:
    """The step and the property file that a `Std:JsonGet` reads."""
    reference = expression.get("PropertyFile")
    path = parse_path(reference["Get"]) if isinstance(reference, dict) and "Get" in reference else []
    if len(path) != 4 or path[0] != "Steps" or path[2] != "PropertyFiles":
        raise ExpressionError(
            f"Std:JsonGet.PropertyFile must be {{'Get': 'Steps.STEP.PropertyFiles.NAME'}}, not {reference!r}"
        )
    return str(path[1]), str(path[3])


def references(value: Any) -> Iterator[str]:
    """Every reference in a value, for example `Steps.Ingest.ProcessingJobName`."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        if value.keys() == {"Get"} and isinstance(value["Get"], str):
            yield value["Get"]
        else:
            for item in value.values():
                yield from references(item)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        raise ExpressionError(f"Std:Join takes texts and numbers, not {value!r}")
    return str(value)
