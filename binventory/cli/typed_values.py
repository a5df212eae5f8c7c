"""Refuses values of flags and arguments that no command can use, whatever the flag: empty ones, and infinity.

`binventory stop "$RUN"` without that variable would stop the newest execution instead.
"""

from __future__ import annotations

import math
from typing import Any

from typer.core import TyperArgument, TyperOption

from binventory.core.errors import Exit, Problem


def refuse_unusable() -> None:
    """Makes every flag and argument refuse an empty value that was typed, and `inf`.

    A variable of the environment may be empty. A default would take the place of an empty name, and an empty path is
    the current folder. `inf` is within a range that has no upper end. Completion takes what is typed as it is: typer
    checks values by pydantic, whose import takes longer.
    """
    for kind in (TyperOption, TyperArgument):
        checked: Any = kind.process_value

        def process_value(parameter: Any, ctx: Any, value: Any, checked: Any = checked) -> Any:
            if ctx.resilient_parsing:
                return value
            found = checked(parameter, ctx, value)  # first: some flags refuse it in words that say what they need
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise _empty(parameter, ctx)
            if isinstance(found, float) and not math.isfinite(found):
                raise _infinite(parameter, ctx, value)
            return found

        replace: Any = setattr
        replace(kind, "process_value", process_value)


def _empty(parameter: Any, ctx: Any) -> Problem:
    name = _name(parameter)
    return Problem(
        f"{name} is empty",
        "its value has no character, as that of a shell variable that is not set",
        f"give a value, or leave {name} out where `{ctx.command_path} --help` has a default",
        code=Exit.USAGE,
    )


def _infinite(parameter: Any, ctx: Any, value: Any) -> Problem:
    return Problem(
        f"{_name(parameter)} {value} is not possible",
        "it must be a finite number",
        f"give a number: {ctx.command_path} --help",
        code=Exit.USAGE,
    )


def _name(parameter: Any) -> str:
    name = parameter.opts[0] if isinstance(parameter, TyperOption) else str(parameter.metavar or parameter.name).upper()
    return str(name).removesuffix("...")
