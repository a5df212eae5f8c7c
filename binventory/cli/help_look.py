"""Help without what says nothing: typer writes `<bool>` beside every flag and `<str>` beside every named argument."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperOption

_WORDS = {"STR": "TEXT", "INT": "NUMBER", "FLOAT": "NUMBER"}


def _option_type(option: TyperOption, ctx: Any) -> str | None:
    """What follows an option; nothing follows a flag."""
    if option.is_flag:
        return None
    kind = option.display_type(ctx).strip("<>").removesuffix(" range").upper()
    return option.metavar or _WORDS.get(kind, kind)


def _argument_type(argument: TyperArgument, ctx: Any) -> str | None:
    """An argument's name says what it is."""
    return None


def tidy_help() -> None:
    """Has typer's help columns say only what people can type. Typer has no setting for it."""
    replace: Any = setattr  # methods of a class that is not ours
    replace(TyperOption, "display_type_rich", _option_type)
    replace(TyperArgument, "display_type_rich", _argument_type)
