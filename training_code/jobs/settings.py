"""Command line flags from frozen dataclasses: one declaration gives the flag, its help, its type and its range.

SageMaker passes hyperparameters as flags, so they are checked here too. A wrong value raises JobError naming the
flag, the value and what is allowed, before any work starts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

from jobs.container import JobError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class _Rule:
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The range in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"between {self.low:g} and {self.high:g}"


def setting(
    help_text: str,
    default: Any = MISSING,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is also a flag. `low` and `high` are allowed values."""
    return field(default=default, metadata={"rule": _Rule(help_text, low, high, choices)})


def parse_settings(kind: type[Settings], arguments: Sequence[str] | None, description: str, examples: str) -> Settings:
    """The settings in the flags. Raises JobError for an unknown flag or a value outside its range."""
    parser = _Parser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    types = get_type_hints(kind)
    for item in _flags(kind):
        rule: _Rule = item.metadata["rule"]
        default = "" if item.default in (MISSING, None) else f" (default {item.default})"
        parser.add_argument(
            _flag(item), dest=item.name, required=item.default is MISSING, default=item.default,
            # A flag alone means true; SageMaker gives every hyperparameter a value.
            nargs="?" if _plain(types[item.name]) is bool else None,
            const="true" if _plain(types[item.name]) is bool else None,
            metavar=_plain(types[item.name]).__name__.upper(), help=(rule.help + default).replace("%", "%%"),
        )  # fmt: skip
    given = vars(parser.parse_args(arguments))
    return kind(**{item.name: _convert(item, types[item.name], given[item.name]) for item in _flags(kind)})


def _flags(kind: type[Any]) -> list[Field[Any]]:
    return [item for item in fields(kind) if "rule" in item.metadata]


def _flag(item: Field[Any]) -> str:
    return "--" + item.name.replace("_", "-")


def _plain(declared: Any) -> type[Any]:
    """int of `int | None`."""
    for kind in (bool, int, float, Path, str):
        if declared is kind or kind in getattr(declared, "__args__", ()):
            return kind
    raise TypeError(f"no flag can be made of {declared}")


def _convert(item: Field[Any], declared: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    rule: _Rule = item.metadata["rule"]
    kind = _plain(declared)
    converted = _parse(kind, value)
    if converted is None or (rule.choices and converted not in rule.choices):
        expected = rule.allowed if rule.choices or kind in (int, float) else f"of type {kind.__name__}"
        raise JobError(f"{_flag(item)} is {value!r}; it must be {expected}")
    if kind in (int, float) and not (math.isfinite(converted) and rule.low <= converted <= rule.high):
        raise JobError(f"{_flag(item)} is {value!r}; it must be {rule.allowed}")
    return converted


def _parse(kind: type[Any], text: str) -> Any:
    """The value, or None where the text is not of this type. SageMaker may send an integer as 32.0 or quoted."""
    text = text.strip().strip('"')
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    try:
        if kind is int:
            return int(text) if text.lstrip("+-").isdigit() else _whole(float(text))
        return kind(text)
    except (ValueError, OverflowError):
        return None


def _whole(number: float) -> int | None:
    return int(number) if number == int(number) else None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise JobError(f"{message}. See --help")
