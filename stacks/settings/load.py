"""Reads the settings of an environment. An error names every wrong value."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from stacks.settings.naming import EnvironmentName
from stacks.settings.section import Section
from stacks.settings.settings import ENVIRONMENT_PREFIX, Settings

SETTINGS_FOLDER = Path(__file__).resolve().parent.parent.parent / "settings"


class InvalidSettingsError(Exception):
    """The settings are wrong; the message names each field, its value and what is allowed.

    `project` is the project's name where that field is right, and only values of other fields are not: enough to name
    what is deployed. Empty otherwise.
    """

    def __init__(self, message: str, project: str = "") -> None:
        super().__init__(message)
        self.project = project


def load(environment: str, folder: Path = SETTINGS_FOLDER) -> Settings:
    """The settings of one environment.

    Raises:
        InvalidSettingsError: the file is absent or unreadable, a key is unknown, or a value is not allowed.
    """
    if environment not in get_args(EnvironmentName):
        known = ", ".join(get_args(EnvironmentName))
        raise InvalidSettingsError(
            f"environment = {environment!r}\n    must be one of {known} (-c env=..., BINVENTORY_ENV)"
        )
    path = folder / f"{environment}.yaml"
    if not path.is_file():
        raise InvalidSettingsError(f"{path.name} is missing in {folder.name}/")
    _refuse_unknown_variables()
    try:
        settings = _of_file(path)()  # type: ignore[call-arg]  # the values come from the sources
    except ValidationError as error:
        found = error.errors()
        lines = [line for details in found for line in _explain(details)]
        named = all(details["loc"][:1] not in {(), ("project",), ("environment",)} for details in found)
        raise InvalidSettingsError("\n".join(lines), _project(path) if named else "") from None
    except (SettingsError, yaml.YAMLError, ValueError, TypeError) as error:
        raise InvalidSettingsError(f"{path.name} or a {ENVIRONMENT_PREFIX} variable cannot be read: {error}") from None
    if settings.environment != environment:
        raise InvalidSettingsError(
            f"environment = {settings.environment!r}\n    must be {environment!r}, as the name of {path.name} says"
        )
    return settings


def _of_file(path: Path) -> type[Settings]:
    class SettingsOfFile(Settings):
        model_config = SettingsConfigDict(yaml_file=path, yaml_file_encoding="utf-8")

    return SettingsOfFile


def _project(path: Path) -> str:
    """The project alone; empty where the file or a variable says that it is another environment's."""

    class Named(BaseSettings):
        model_config = SettingsConfigDict(
            yaml_file=path, yaml_file_encoding="utf-8", env_prefix=ENVIRONMENT_PREFIX, extra="ignore"
        )
        project: str
        environment: str

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return Settings.settings_customise_sources(settings_cls, *sources, **named)

    found = Named()  # type: ignore[call-arg]  # the values come from the sources
    return found.project if found.environment == path.stem else ""


def _refuse_unknown_variables() -> None:
    """Refuses overrides that would change nothing, or something else: pydantic-settings takes them without a word."""
    for variable in sorted(os.environ):
        if not variable.upper().startswith(ENVIRONMENT_PREFIX):
            continue
        name, nested, _ = variable[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
        if why := _idle(name, bool(nested)):
            raise InvalidSettingsError(f"{variable} = {os.environ[variable]!r}\n    {why}")


def _idle(name: str, nested: bool) -> str:
    """Why a variable overrides no setting; empty where it does, or is none of the settings.

    Args:
        name: what follows the prefix, up to two underscores, in small letters.
        nested: whether two underscores and a field follow.
    """
    known = list(Settings.model_fields)
    if name in known and nested and name == "tags":
        example = f'{ENVIRONMENT_PREFIX}TAGS=\'{{"CostCentre": "4711"}}\''
        return f"would lose the capitals of the tag's key, as in the names of all variables: give them as {example}"
    if name in known and nested and not _is_section(name):
        return f"overrides no setting; {name} has no fields: set {ENVIRONMENT_PREFIX}{name.upper()}"
    if name in known:
        return ""
    for section in filter(_is_section, known):
        if name.startswith(f"{section}_"):
            meant = f"{ENVIRONMENT_PREFIX}{section}__{name.removeprefix(f'{section}_')}".upper()
            return f"overrides no setting; two underscores stand between section and field: did you mean {meant}?"
    if nested or difflib.get_close_matches(name, known, n=1, cutoff=0.8):
        return f"overrides no setting; {_alternatives(name, known)}"
    return ""


def _is_section(name: str) -> bool:
    kind: Any = Settings.model_fields[name].annotation
    return isinstance(kind, type) and issubclass(kind, Section)


def _explain(details: ErrorDetails) -> Iterator[str]:
    location = [str(part) for part in details["loc"]]
    context = details.get("ctx", {})
    field = context.get("field", ".".join(location))
    variable = ENVIRONMENT_PREFIX + field.replace(".", "__").upper()
    source = f"  (from {variable})" if variable in os.environ else ""
    if details["type"] == "missing":
        yield f"{field} is missing{source}"
        yield "    add it to the settings file"
    elif details["type"] == "extra_forbidden":
        yield f"{field} = {details['input']!r}{source}"
        yield f"    is no setting; {_alternatives(location[-1], _keys_beside(location))}"
    elif details["type"] == "string_type":
        yield f"{field} = {details['input']!r}{source}"
        yield "    must be text: put it between quotes"  # YAML takes 123456789012 and 19:00 for numbers
    else:
        yield f"{field} = {context.get('value', details['input'])!r}{source}"
        yield f"    {in_words(details['msg'])}"


def _keys_beside(location: list[str]) -> list[str]:
    model: Any = Settings
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def _alternatives(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def in_words(message: str) -> str:
    """A message of pydantic as the end of a sentence."""
    return (
        message.replace("Input should be", "must be").replace("String should", "must").replace("Input should", "must")
    )
