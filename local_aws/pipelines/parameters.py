"""The parameters of a pipeline definition, and the values that an execution gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

from local_aws.core.errors import validation
from local_aws.pipelines.refusals import refuse_unknown, refused

TYPES = {"String": str, "Integer": int, "Float": float, "Boolean": bool}
"""Of parameters, and of the outputs of a Lambda step."""
_MEMBERS = frozenset({"Name", "Type", "DefaultValue", "EnumValues"})

Value = str | int | float | bool


@dataclass(frozen=True)
class PipelineParameter:
    """A pipeline parameter; `default` is None when an execution must give a value."""

    name: str
    type: str
    default: Value | None
    allowed: tuple[Value, ...]

    def value_of(self, text: str) -> Value:
        """The value of an execution's text; raises a ValidationException."""
        if self.type == "Boolean" and text.lower() not in {"true", "false"}:
            raise validation(f"Parameter {self.name} must be true or false, got {text!r}")
        try:
            value: Value = text.lower() == "true" if self.type == "Boolean" else TYPES[self.type](text)
        except ValueError:
            value = math.nan
        # Python reads more as a number than JSON does: 1_000 and nan.
        number = self.type in {"Integer", "Float"}
        if number and ("_" in text or not math.isfinite(cast(float, value))):
            raise validation(f"Parameter {self.name} must be of type {self.type}, got {text!r}")
        if self.allowed and value not in self.allowed:
            allowed = ", ".join(str(item) for item in self.allowed)
            raise validation(f"Parameter {self.name} must be one of [{allowed}], got {text!r}")
        return value


def read_parameters(items: list[dict[str, Any]]) -> dict[str, PipelineParameter]:
    """The declared parameters by their names. Raises a ValidationException."""
    found = [_parameter(item) for item in items]
    names = [parameter.name for parameter in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise refused(f"parameter names must be unique, found more than once: {', '.join(doubled)}")
    return {parameter.name: parameter for parameter in found}


def _parameter(item: dict[str, Any]) -> PipelineParameter:
    kind = item["Type"]
    if kind not in TYPES:
        raise refused(f"parameter {item['Name']} has type {kind!r}; known: {', '.join(TYPES)}")
    refuse_unknown(f"parameter {item['Name']}", item, _MEMBERS)
    for value in [item.get("DefaultValue"), *item.get("EnumValues", ())]:
        if value is not None and not _is_of(kind, value):
            raise refused(f"parameter {item['Name']} is of type {kind}, and {value!r} is not")
    parameter = PipelineParameter(item["Name"], kind, item.get("DefaultValue"), tuple(item.get("EnumValues", ())))
    if parameter.default is not None and parameter.allowed and parameter.default not in parameter.allowed:
        raise refused(f"parameter {parameter.name}: the default {parameter.default!r} is not among its EnumValues")
    return parameter


def _is_of(kind: str, value: Any) -> bool:
    """Whether a value of JSON has the type of a parameter; a Float may be written as a whole number."""
    if isinstance(value, bool) or kind == "Boolean":
        return isinstance(value, bool) and kind == "Boolean"
    return isinstance(value, int | float) if kind == "Float" else isinstance(value, TYPES[kind])
