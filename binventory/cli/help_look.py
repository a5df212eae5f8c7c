"""Shorter help: typer writes `<bool>` beside every flag and `<str>` beside every named argument.

What it leaves of a line is the description's: at 80 columns typer ends a longer word with an ellipsis.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperOption

_WORDS = {"STR": "TEXT", "INT": "NUMBER", "FLOAT": "NUMBER"}


def _option_type(option: TyperOption, ctx: Any) -> str | None:
    """The placeholder after an option; a flag has none."""
    if option.is_flag:
        return None
    kind = option.display_type(ctx).strip("<>").removesuffix(" range").upper()
    word = option.metavar or ("" if _range(option) else _WORDS.get(kind, kind))
    return f"{word} {_range(option)}".strip()


def _range(option: TyperOption) -> str:
    """`1-64` or `≥1`, where typer says `NUMBER [1<=x<=64]`; empty without bounds."""
    low, high = option.min, option.max
    if low is None:
        return "" if high is None else f"≤{high}"
    return f"≥{low}" if high is None else f"{low}-{high}"


def _no_range(option: TyperOption) -> None:
    """Nothing after the type: the type says it."""


def _argument_type(argument: TyperArgument, ctx: Any) -> str | None:
    """An argument is shown by its name."""
    return None


def tidy_help() -> None:
    """Makes typer's help show only text that people can type. Typer has no setting for it."""
    replace: Any = setattr  # methods of a class that is not ours
    replace(TyperOption, "display_type_rich", _option_type)
    replace(TyperOption, "_get_number_range_help_str", _no_range)
    replace(TyperArgument, "display_type_rich", _argument_type)
