"""Flags that have no effect beside the others: refused by name, because the person who typed one expects something."""

from __future__ import annotations

import typer

from binventory.core.errors import Exit, Problem

_TYPED = "COMMANDLINE"


def refuse_idle(context: typer.Context, *names: str, why: str) -> None:
    """Refuses those of the flags that were typed; a variable or a default may stand.

    Args:
        context: of the command.
        names: its parameters, as the function has them.
        why: what makes them idle, as a sentence without its end.

    Raises:
        Problem: one of them was typed.
    """
    typed = [_flag(context, name) for name in names if is_typed(context, name)]
    if typed:
        flags = " and ".join(typed)
        verb = "has" if len(typed) == 1 else "have"
        raise Problem(f"{flags} {verb} no effect here", why, f"leave out {flags}", code=Exit.USAGE)


def refuse_both(context: typer.Context, first: str, second: str, *, why: str) -> None:
    """Refuses two flags that were typed together. Raises Problem."""
    if is_typed(context, first) and is_typed(context, second):
        raise Problem(
            f"{_flag(context, first)} and {_flag(context, second)} exclude each other",
            why,
            "give one of them",
            code=Exit.USAGE,
        )


def refuse_two_forms(context: typer.Context) -> None:
    """Refuses --markdown with --json. Raises Problem."""
    refuse_both(context, "markdown", "json", why="both say in which form the result is printed")


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether a parameter's value comes from the command line, not from a variable or a default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == _TYPED


def _flag(context: typer.Context, name: str) -> str:
    """`--name`, which each declaration here says first."""
    return next(str(parameter.opts[0]) for parameter in context.command.params if parameter.name == name)
