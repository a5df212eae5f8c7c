"""Empty values are refused: `binventory stop "$RUN"` without that variable would stop the newest execution instead."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperOption

from binventory.core.errors import Exit, Problem


def refuse_empty() -> None:
    """Makes every flag and argument refuse an empty value that was typed; a variable of the environment may be empty.

    A default would take the place of an empty name, and an empty path is the current folder.
    """
    for kind in (TyperOption, TyperArgument):
        checked: Any = kind.process_value

        def process_value(parameter: Any, ctx: Any, value: Any, checked: Any = checked) -> Any:
            found = checked(parameter, ctx, value)  # first: some flags refuse it in words that say what they need
            if not ctx.resilient_parsing and (value == "" or (isinstance(value, list | tuple) and "" in value)):
                raise _empty(parameter, ctx)
            return found

        replace: Any = setattr
        replace(kind, "process_value", process_value)


def _empty(parameter: Any, ctx: Any) -> Problem:
    name = parameter.opts[0] if isinstance(parameter, TyperOption) else str(parameter.metavar or parameter.name).upper()
    return Problem(
        f"{name.removesuffix('...')} is empty",
        "its value has no character, as that of a shell variable that is not set",
        f"give a value, or leave {name.removesuffix('...')} out where `{ctx.command_path} --help` has a default",
        code=Exit.USAGE,
    )
