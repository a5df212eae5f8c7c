"""The settings reference, from the typed fields: meaning, allowed values, and the values of dev and prod."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stacks.settings import ENVIRONMENT_PREFIX, Settings, load
from stacks.settings.instances import BatchInstance, JobInstance, Region, ServingInstance
from stacks.settings.section import Form

HEAD = f"""# Settings

Written from the code by `make docs`; edit the fields in `stacks/settings/`, not this page.

`settings/dev.yaml` and `settings/prod.yaml` say what differs between environments. Every field is checked before
synthesis; an error names the field, its value and what is allowed. Any field can be overridden by a variable
`{ENVIRONMENT_PREFIX}SECTION__FIELD`, for example `{ENVIRONMENT_PREFIX}TRAINING__EPOCHS=3`.
"""
_LISTS = {
    typing.get_args(JobInstance): "instance types of jobs",
    typing.get_args(ServingInstance): "instance types of endpoints",
    typing.get_args(BatchInstance): "instance types of transform jobs",
    typing.get_args(Region): "regions",
}
"""Long lists of allowed values by what they are called; each stands once, at the end of the page."""


def settings_page() -> str:
    """The page."""
    environments = {name: load(name) for name in ("dev", "prod")}
    parts = [HEAD]
    sections = {name: field for name, field in Settings.model_fields.items() if _model(field.annotation)}
    own = [name for name in Settings.model_fields if name not in sections]
    parts.append(_table(Settings, own, environments, ()))
    for name, field in sections.items():
        model = _model(field.annotation)
        assert model is not None
        parts.append(f"## `{name}`\n\n{_summary(model)}\n")
        parts.append(_table(model, list(model.model_fields), environments, (name,)))
        for inner, inner_field in model.model_fields.items():
            nested = _model(inner_field.annotation)
            if nested is not None:
                parts.append(f"### `{name}.{inner}`\n\n{_summary(nested)}\n")
                parts.append(_table(nested, list(nested.model_fields), environments, (name, inner)))
    parts.append("## Allowed values\n")
    for values, name in _LISTS.items():
        parts.append(f"{name.capitalize()}: {', '.join(f'`{value}`' for value in values)}.\n")
    return "\n".join(parts)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The group of settings that an annotation stands for, optional or not."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _summary(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("\n", " ")


def _table(model: type[BaseModel], names: list[str], environments: dict[str, Settings], path: tuple[str, ...]) -> str:
    meanings = _meanings(model)
    lines = ["| field | may be | dev | prod | meaning |", "|---|---|---|---|---|"]
    for name in names:
        field = model.model_fields[name]
        if _model(field.annotation) and path:
            continue
        values = [_value(settings, (*path, name)) for settings in environments.values()]
        cells = [f"`{name}`", _allowed(field), *values, meanings.get(name, "")]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _value(settings: Any, path: tuple[str, ...]) -> str:
    for part in path:
        settings = settings.get(part) if isinstance(settings, dict) else getattr(settings, part, None)
        if settings is None:
            return "-"
    plain = settings.model_dump() if isinstance(settings, BaseModel) else settings
    text = plain if isinstance(plain, str) else json.dumps(plain)
    return f"`{text}`" if text else "`''`"


def _allowed(field: FieldInfo) -> str:
    """Type and bounds in words."""
    kind = _form(field.metadata) or _kind(field.annotation)
    bounds = {type(item).__name__: item for item in field.metadata}
    words = {"Ge": "from {0.ge}", "Gt": "above {0.gt}", "Le": "to {0.le}", "Lt": "below {0.lt}"}
    said = [words[name].format(bounds[name]) for name in words if name in bounds]
    return " ".join([kind, *said])


def _form(metadata: Sequence[Any]) -> str:
    """What text of a certain form may be, in words; empty for other types."""
    return next((item.allowed for item in metadata if isinstance(item, Form)), "")


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    simple = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation in simple:
        return simple[annotation]
    if origin is typing.Literal:
        shown = [f"`{argument}`" for argument in arguments]
        if arguments in _LISTS:
            return f"one of the {len(shown)} {_LISTS[arguments]}"
        return " or ".join(shown) if len(shown) <= 4 else "one of " + ", ".join(shown)
    if origin is typing.Annotated:
        return _form(arguments[1:]) or _kind(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return " or ".join("nothing" if argument is type(None) else _kind(argument) for argument in arguments)
    if origin is tuple:
        each = _kind(arguments[0])
        return f"list, each {each}" if "," in each else f"list of {each}"
    if origin is dict:
        return f"{_kind(arguments[1])} by {_kind(arguments[0])}"
    return "group"


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The strings below the fields, of this class and those it is made from."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if isinstance(base, type) and issubclass(base, BaseModel) and base.__module__.startswith("stacks."):
            found |= dict(_below_fields(base))
    return found


def _below_fields(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield statement.target.id, " ".join(str(following.value.value).split())
