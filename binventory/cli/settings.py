"""The settings as the commands read them: a wrong one ends the command with its name."""

from __future__ import annotations

from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from stacks.settings import InvalidSettingsError, Settings, load


def settings_of(environment: str) -> Settings:
    """The settings of an environment. Raises Problem where they are not usable."""
    try:
        return load(environment)
    except InvalidSettingsError as error:
        raise Problem(
            "The settings are not usable",
            str(error),
            f"correct settings/{environment}.yaml or the variable, or choose another environment with --env",
            code=Exit.USAGE,
        ) from None


def names_of(environment: str) -> Names:
    """The names that the stacks of an environment have with its settings."""
    return Names(environment, settings_of(environment).project)
