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
    full: Any = None
    """The default with strategy full, where it is another."""
    only: str = ""
    """The strategy with which it has an effect; empty: with any."""
    alone: bool = False
    """Whether no other flag has an effect beside it."""
    listed: bool = False
    """Whether it is a list with commas, to which each further flag adds."""

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
    full: Any = None,
    only: str = "",
    alone: bool = False,
    listed: bool = False,
) -> Any:
    """A dataclass field that is also a flag. `low` and `high` are allowed values.

    `full` is the default where the setting `strategy` is full, if that is another one. A flag that would have no effect
    is refused: one with another strategy than `only`, and one beside a flag that is `alone`. Of a flag that is given
    again the last counts, but a `listed` one, which has a list with commas, is the whole of them.
    """
    return field(default=default, metadata={"rule": _Rule(help_text, low, high, choices, full, only, alone, listed)})


def parse_settings(kind: type[Settings], arguments: Sequence[str] | None, description: str, examples: str) -> Settings:
    """The settings in the flags. Raises JobError for an unknown flag, one without effect, or a wrong value."""
    parser = _Parser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    types = get_type_hints(kind)
    for item in _flags(kind):
        rule: _Rule = item.metadata["rule"]
        default = "" if item.default in (MISSING, None) else f" (default {item.default}{_of_full(rule)})"
        if item.default is None and rule.full is not None:
            default = f" (default with strategy full: {rule.full})"
        parser.add_argument(
            _flag(item), dest=item.name, required=item.default is MISSING, default=None,
            action="append" if rule.listed else "store",
            # A flag alone means true; SageMaker gives every hyperparameter a value.
            nargs="?" if _plain(types[item.name]) is bool else None,
            const="true" if _plain(types[item.name]) is bool else None,
            metavar=_plain(types[item.name]).__name__.upper(), help=(rule.help + default).replace("%", "%%"),
        )  # fmt: skip
    given = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in vars(parser.parse_args(arguments)).items()
    }
    chosen = next((item for item in _flags(kind) if item.name == "strategy"), None)
    strategy = "" if chosen is None else _convert(chosen, types["strategy"], given["strategy"] or chosen.default)
    _refuse_without_effect([item for item in _flags(kind) if given[item.name] is not None], strategy)
    for item in _flags(kind):
        if given[item.name] is None:
            full = item.metadata["rule"].full
            given[item.name] = full if full is not None and strategy == "full" else item.default
    return kind(**{item.name: _convert(item, types[item.name], given[item.name]) for item in _flags(kind)})


def _refuse_without_effect(given: Sequence[Field[Any]], strategy: str) -> None:
    for item in given:
        rule: _Rule = item.metadata["rule"]
        others = ", ".join(_flag(other) for other in given if other is not item)
        if rule.alone and others:
            raise JobError(f"{_flag(item)} takes no other flag: {others} would have no effect. See --help")
        if rule.only and strategy != rule.only:
            raise JobError(f"{_flag(item)} has no effect with strategy {strategy}, only with {rule.only}: leave it out")


def _flags(kind: type[Any]) -> list[Field[Any]]:
    return [item for item in fields(kind) if "rule" in item.metadata]


def _of_full(rule: _Rule) -> str:
    return "" if rule.full is None else f"; with strategy full {rule.full}"


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
    if not _text(value):
        # Of a shell variable that is not set. As a path it would be the current folder.
        raise JobError(f"{_flag(item)} is empty: give it a value, or leave it out")
    rule: _Rule = item.metadata["rule"]
    kind = _plain(declared)
    converted = _parse(kind, value)
    if converted is None or (rule.choices and converted not in rule.choices):
        expected = rule.allowed if rule.choices or kind in (int, float) else f"of type {kind.__name__}"
        raise JobError(f"{_flag(item)} is {value!r}; it must be {expected}")
    if kind in (int, float) and not (math.isfinite(converted) and rule.low <= converted <= rule.high):
        raise JobError(f"{_flag(item)} is {value!r}; it must be {rule.allowed}")
    return converted


def _text(value: str) -> str:
    return value.strip().strip('"')


def _parse(kind: type[Any], text: str) -> Any:
    """The value, or None where the text is not of this type. SageMaker may send an integer as 32.0 or quoted."""
    text = _text(text)
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
