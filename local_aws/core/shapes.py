"""Checks requests and replies against botocore's service model.

botocore's `ParamValidator` checks types, required members and minima only. AWS also refuses unknown enum values and
violated patterns, maxima and lengths, so this module walks the same shapes and reports those too.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final

from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from local_aws.core import descriptions

# Java's Unicode classes as ranges that also work inside brackets; beyond Latin-1 the ranges are wider than Java's.
_UNICODE_CLASSES = {
    r"\p{L}": r"A-Za-z\u00AA\u00B5\u00BA\u00C0-\u1FFF\u2C00-\uFFDC",
    r"\p{M}": r"\u0300-\u036F",
    r"\p{Z}": r" \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000",
    r"\p{N}": r"0-9\u00B2\u00B3\u00B9\u00BC-\u00BE",
    r"\p{S}": r"$+<=>^`|~",
    r"\p{P}": r"!-#%-*,-/:;?@\[-\]_{}",
    r"\p{Alnum}": r"A-Za-z0-9",
}
# What else Java's patterns write in another way; tests/contract/test_wire.py fails for one that Python cannot read.
_OTHERWISE = (
    (r"[\p{Print}]", r"[\x20-\x7e]"),
    (r"\p{Print}", r"[\x20-\x7e]"),
    (r"\p{ASCII}", r"[\x00-\x7f]"),
    (r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff"),  # pairs, each of which is one character in Python
    ("${1,128}", "$"),
    ("${1,256}", "$"),
    (r"\z", r"\Z"),
    ("}-_]", r"}\-_]"),  # no range: a class, and a hyphen
)
_NUMBERS = {"integer", "long", "float", "double"}


LATER: Final = object()
"""Stands in a request for a value that is not known yet: it satisfies every shape."""


@lru_cache
def service_model(service: str = "sagemaker") -> ServiceModel:
    """botocore's model of a service; loaded once, because SageMaker's takes about a third of a second."""
    return descriptions.session().get_service_model(service)


@lru_cache
def operation_model(name: str, service: str = "sagemaker") -> OperationModel:
    """The model of one operation; raises `botocore.model.OperationNotFoundError` for an unknown name."""
    return service_model(service).operation_model(name)


def violations(shape: Shape | None, value: object, *, max_found: int = 10) -> list[str]:
    """Every violation of `shape` by `value` (decoded JSON), in AWS's words; empty when there is none."""
    if shape is None:
        return [] if not value else ["Unexpected members where the model has none"]
    found: list[str] = []
    for violation in _walk(shape, value, ""):
        found.append(violation)
        if len(found) == max_found:
            break
    return found


def without_nulls(shape: Shape | None, value: Any) -> Any:
    """A decoded JSON request without the members that are null: those stand for members that are left out."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members: dict[str, Any] = dict(shape.members)
        given = {name: member for name, member in value.items() if member is not None or name not in members}
        return {name: without_nulls(members.get(name), member) for name, member in given.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [without_nulls(shape.member, item) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: without_nulls(shape.value, item) for key, item in value.items()}
    return value


def _walk(shape: Shape, value: object, path: str) -> Iterator[str]:
    if value is LATER:
        return
    if isinstance(shape, StructureShape):
        yield from _walk_structure(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _walk_list(shape, value, path)
    elif isinstance(shape, MapShape):
        yield from _walk_map(shape, value, path)
    else:
        yield from _walk_scalar(shape, value, path)


def _walk_structure(shape: StructureShape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong_type(value, path, "a structure")
        return
    members: dict[str, Any] = dict(shape.members)
    for name in shape.required_members:
        if name not in value or value[name] is None:
            yield f"Value null at '{_child(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if name not in members:
            yield f"Unknown member '{_child(path, name)}' (known: {', '.join(sorted(members)) or 'none'})"
        elif member is not None:
            yield from _walk(members[name], member, _child(path, name))
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"Value at '{path}' failed to satisfy constraint: exactly one member must be set"


def _walk_list(shape: ListShape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield _wrong_type(value, path, "a list")
        return
    yield from _bounds(shape, len(value), "length", value, path)
    for index, item in enumerate(value, start=1):
        yield from _walk(shape.member, item, f"{path}.{index}.member")


def _walk_map(shape: MapShape, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong_type(value, path, "a map")
        return
    yield from _bounds(shape, len(value), "length", value, path)
    for key, item in value.items():
        yield from _walk(shape.key, key, f"{path}.key")
        yield from _walk(shape.value, item, f"{path}.{key}")


def _walk_scalar(shape: Shape, value: object, path: str) -> Iterator[str]:
    kind = shape.type_name
    if kind == "boolean":
        if not isinstance(value, bool):
            yield _wrong_type(value, path, "a boolean")
    elif kind in _NUMBERS or kind == "timestamp":
        # JSON has no infinity, but a reader makes one of 1e999.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            yield _wrong_type(value, path, "a number" if kind in _NUMBERS else "a timestamp (seconds since 1970)")
        elif kind in {"integer", "long"} and int(value) != value:
            yield _wrong_type(value, path, "a whole number")
        elif kind in _NUMBERS:
            yield from _bounds(shape, value, "value", value, path)
    elif not isinstance(value, str):
        yield _wrong_type(value, path, "a string")
    elif kind == "string":
        yield from _walk_string(shape, value, path)


def _walk_string(shape: Shape, value: str, path: str) -> Iterator[str]:
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield _failed(value, path, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
        return
    yield from _bounds(shape, len(value), "length", value, path)
    pattern = shape.metadata.get("pattern")
    if pattern and not _pattern(pattern).fullmatch(value):
        yield _failed(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _bounds(shape: Shape, size: float, what: str, value: object, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    must = "Member must have length" if what == "length" else "Member must have value"
    if least is not None and size < least:
        yield _failed(value, path, f"{must} greater than or equal to {least}")
    if most is not None and size > most:
        yield _failed(value, path, f"{must} less than or equal to {most}")


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of the model, which is Java's. Raises `re.error` for one that Python cannot read."""
    for java, python in (*_OTHERWISE, *_UNICODE_CLASSES.items()):
        pattern = pattern.replace(java, python)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern)


def _child(path: str, name: str) -> str:
    first = name[:1].lower() + name[1:]
    return f"{path}.{first}" if path else first


def _failed(value: object, path: str, constraint: str) -> str:
    shown = str(value)
    return f"Value '{shown[:200]}' at '{path}' failed to satisfy constraint: {constraint}"


def _wrong_type(value: object, path: str, wanted: str) -> str:
    return f"Value of type {type(value).__name__} at '{path or 'the request'}' must be {wanted}"
