"""The values of a start, held to what the settings allow: the same types, bounds and cross-checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from binventory.assembly.definitions import Definition, defaults_of
from binventory.core.errors import Exit, Problem
from stacks.pipeline.parameters import SETTINGS
from stacks.settings import Settings, complaints
from stacks.settings.load import in_words
from stacks.settings.tuning import BatchSize, LearningRate

# What a search tries is given to a single training on EC2.
_TRIED: Final[Mapping[str, TypeAdapter[Any]]] = {
    "LearningRate": TypeAdapter(LearningRate),
    "BatchSize": TypeAdapter(BatchSize),
}


def check_values(settings: Settings, definition: Definition, given: Mapping[str, Any]) -> None:
    """Refuses values that the settings would refuse, together with the deployed pipeline's other values.

    Raises:
        Problem: a value is out of its bounds, or does not fit another one.
    """
    for tuned, tried in _TRIED.items():
        if tuned in given:
            _check_tried(tuned, given[tuned], tried)
    deployed = {name: value for name, value in defaults_of(definition).items() if name in SETTINGS}
    # Settings may have changed since the deployment: what is wrong without the given values is not their fault.
    before = complaints(settings, _by_field(deployed))
    wrong = [found for found in complaints(settings, _by_field({**deployed, **given})) if found not in before]
    if not wrong:
        return
    parameters = {SETTINGS[name]: name for name in given if name in SETTINGS}
    first, name = wrong[0], parameters.get(wrong[0].field)
    raise Problem(
        f"{name}={first.value} is not possible" if name else f"{_listed(given)} does not fit the settings",
        f"{name or first.field + ' (' + first.value + ')'} {first.why}",
        f"docs/settings.md says what {first.field} may be; nothing was started",
        code=Exit.USAGE,
    )


def _by_field(values: Mapping[str, Any]) -> dict[str, Any]:
    return {SETTINGS[name]: value for name, value in values.items() if name in SETTINGS}


def _listed(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in given.items() if name in SETTINGS)


def _check_tried(name: str, value: Any, tried: TypeAdapter[Any]) -> None:
    try:
        tried.validate_python(value)
    except ValidationError as error:
        raise Problem(
            f"{name}={value} is not possible",
            f"{name} {in_words(error.errors()[0]['msg'])}",
            "docs/settings.md says what the search may try; nothing was started",
            code=Exit.USAGE,
        ) from None
