"""Settings with other values: the same types, bounds and cross-checks as those in the files, and only them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stacks.settings.load import in_words
from stacks.settings.settings import Settings


@dataclass(frozen=True)
class Complaint:
    """What is wrong with one setting."""

    field: str
    """For example `evaluation.accuracy_threshold`."""
    value: str
    why: str
    """What is allowed: `must be less than or equal to 1`."""


def complaints(settings: Settings, values: Mapping[str, Any]) -> tuple[Complaint, ...]:
    """What is wrong with the settings once `values`, by field, replace theirs; empty where they fit."""
    changed: dict[str, Any] = settings.model_dump()
    for field, value in values.items():
        section, _, name = field.partition(".")
        changed[section] = {**changed[section], name: value}
    try:
        Settings.model_validate(changed)
    except ValidationError as error:
        return tuple(_complaint(details) for details in error.errors())
    return ()


def _complaint(details: ErrorDetails) -> Complaint:
    context = details.get("ctx", {})
    field = context.get("field", ".".join(str(part) for part in details["loc"]))
    return Complaint(field, str(context.get("value", details["input"])), in_words(details["msg"]))
