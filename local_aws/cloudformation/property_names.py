"""The properties of resource types: what CloudFormation refuses because a type lacks it, or requires it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

EXTRACT: Final = Path(__file__).with_name("resource_types.json")
"""Written by extract.py. Each type has its own properties, under the empty name, and those of the structures in them.
A property has `required`, `of` (structures of which it may hold one or a list) and `map` (they stand under free names).
"""
_FREE: Final = frozenset({"AWS::CloudFormation::CustomResource", "AWS::CDK::Metadata"})
"""Types with properties of any name."""
Structures = Mapping[str, Mapping[str, Mapping[str, Any]]]


def problem(kind: str, logical_id: str, properties: Mapping[str, Any]) -> str:
    """What CloudFormation says about names of properties, in its words; empty if it takes them.

    Args:
        kind: of the resource; of types that the local AWS cannot make, nothing is known here.
        logical_id: of the resource in its template.
        properties: with the values of functions such as Ref.
    """
    structures = None if kind in _FREE else _types().get(kind)
    found = list(_wrong("#", structures, "", properties)) if structures else []
    return f"Properties validation failed for resource {logical_id} with message: {', '.join(found)}" if found else ""


@cache
def _types() -> Mapping[str, Structures]:
    found: dict[str, Structures] = json.loads(EXTRACT.read_text())
    return found


def _wrong(place: str, structures: Structures, name: str, given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with an object that should be a structure, each with its place: `#/Tags/0: ...`."""
    members = structures[name]
    for key in sorted(given.keys() - members.keys()):
        yield f"{place}: extraneous key [{key}] is not permitted"
    for key in sorted(key for key, member in members.items() if member.get("required") and key not in given):
        yield f"{place}: required key [{key}] not found"
    for key in sorted(given.keys() & members.keys()):
        if names := members[key].get("of"):
            yield from _within(f"{place}/{key}", structures, names, given[key], is_map=members[key].get("map", False))


def _within(place: str, structures: Structures, names: list[str], value: Any, *, is_map: bool) -> Iterator[str]:
    """What is wrong with a value that should be one of the structures, a list of them, or a map to them."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _within(f"{place}/{number}", structures, names, item, is_map=is_map)
    elif isinstance(value, Mapping) and is_map:
        for key, item in value.items():
            yield from _within(f"{place}/{key}", structures, names, item, is_map=False)
    elif isinstance(value, Mapping):
        tries = [list(_wrong(place, structures, name, value)) for name in names]
        yield from min(tries, key=len)
