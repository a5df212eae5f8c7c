"""The settings as the commands read them: a wrong one ends the command with its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from binventory.cli.look import stderr
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names

if TYPE_CHECKING:
    from stacks.settings import Settings


def settings_of(environment: str) -> Settings:
    """The settings of an environment. Raises Problem where they are not usable."""
    from stacks.settings import InvalidSettingsError, load

    try:
        return load(environment)
    except InvalidSettingsError as error:
        raise _unusable(environment, error) from None


def _unusable(environment: str, error: Exception) -> Problem:
    return Problem(
        "The settings are not usable",
        _in_one_line(str(error)),
        f"correct settings/{environment}.yaml or the variable, or choose another environment with --env",
        code=Exit.USAGE,
    )


def _in_one_line(found: str) -> str:
    """Each wrong value with what is allowed: `training.epochs = 0 must be greater than 0; ...`."""
    return re.sub(r"\n\s+", " ", found.strip()).replace("\n", "; ")


def names_of(environment: str) -> Names:
    """The names that the stacks of an environment have with its settings.

    A wrong value of another field than the project's is printed and does not matter: what runs and bills must end with
    any settings. Raises Problem where the project is not known.
    """
    from stacks.settings import InvalidSettingsError, load

    try:
        return Names(environment, load(environment).project)
    except InvalidSettingsError as error:
        if not error.project:
            raise _unusable(environment, error) from None
        stderr.print(
            f"The settings are not usable ({_in_one_line(str(error))}). This command reads the project's name only.",
            style="yellow",
            soft_wrap=True,
        )
        return Names(environment, error.project)
