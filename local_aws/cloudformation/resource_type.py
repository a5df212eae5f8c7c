"""A resource type, and template properties as requests of its operations."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from botocore.model import ListShape, MapShape, Shape, StructureShape

from local_aws.core.context import Context
from local_aws.core.protocol import SAGEMAKER, Document
from local_aws.core.shapes import operation_model
from local_aws.core.wire import call
from local_aws.ministack import hooks

Attributes = dict[str, Any]
Created = tuple[str, Attributes]
"""A resource's physical id (what Ref gives) and its attributes (what Fn::GetAtt gives)."""
_LONGEST: Final = 63
# What AWS's library for resource types takes of a name that begins with the logical id, unless the type says more.
_LONGEST_OF_LOGICAL_ID: Final = 40
_RANDOM: Final = 12


@dataclass(frozen=True)
class Update:
    """An update of a resource in place.

    Args:
        physical_id: of the resource.
        old: its properties before the update.
        new: its properties after the update.
    """

    physical_id: str
    old: Document
    new: Document


@dataclass(frozen=True)
class ResourceType:
    """One resource type. The functions may block; an exception becomes the resource's status reason.

    Args:
        name: `AWS::SageMaker::Model`.
        create: takes the context, a generated name for a resource without one, and the properties.
        update: changes the resource in place.
        delete: removes it; no error when it does not exist.
        replacing: properties whose change needs a new resource; `Budget.BudgetName` is a property of a property.
        name_property: the property that names it: with an unchanged explicit name it cannot be replaced.
        taggable: it has a `Tags` list, to which stack tags are added.
        named_after_stack: a name that CloudFormation makes up begins with the stack's, else with the logical id.
    """

    name: str
    create: Callable[[Context, str, Document], Created]
    update: Callable[[Context, Update], Created]
    delete: Callable[[Context, str, Document], None]
    replacing: tuple[str, ...] = ()
    name_property: str | None = None
    taggable: bool = True
    named_after_stack: bool = True

    def handlers(self, context: Context) -> hooks.ResourceHandlers:
        """The type as ministack's CloudFormation calls it."""

        def create(logical_id: str, properties: Document, stack_name: str) -> Created:
            name = _named(logical_id)
            if self.named_after_stack:
                name = hooks.physical_name(stack_name, logical_id, _LONGEST)
            return self.create(context, name, properties)

        def update(physical_id: str, old: Document, new: Document, stack_name: str) -> Created:
            return self.update(context, Update(physical_id, old, new))

        def delete(physical_id: str, properties: Document) -> None:
            self.delete(context, physical_id, properties)

        functions: dict[str, Callable[..., Any]] = {"create": create, "update": update, "delete": delete}
        return hooks.ResourceHandlers(self.name, functions, self.replacing, self.name_property, self.taggable)


def _named(logical_id: str) -> str:
    """A name of the types that leave out the stack's, such as `Model-iLsuBs92FvnF`."""
    random = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_RANDOM))
    return f"{logical_id[: _LONGEST_OF_LOGICAL_ID - _RANDOM - 1]}-{random}"


def request(context: Context, operation: str, properties: Document) -> Document:
    """Run a SageMaker operation with those template properties that are members of its request.

    The others are of the resource's other operations: tags of an update, what an update of an endpoint retains.
    """
    shape = operation_model(operation).input_shape
    members = shape.members if shape else {}
    wanted = {key: value for key, value in properties.items() if key in members}
    return call(context, operation, typed(operation, wanted))


def typed(operation: str, members: Document, service: str = SAGEMAKER) -> Document:
    """A request with the types of an operation's model: a template may write numbers and booleans as text."""
    request: Document = _coerce(operation_model(operation, service).input_shape, members)
    return request


def _coerce(shape: Shape | None, value: Any) -> Any:
    if shape is None:
        return value
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members = dict(shape.members)
        return {key: _coerce(members[key], item) if key in members else item for key, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_coerce(shape.member, item) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _coerce(shape.value, item) for key, item in value.items()}
    if isinstance(value, str):
        return _coerce_text(shape.type_name, value)
    if shape.type_name == "string" and isinstance(value, (int, float)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _coerce_text(kind: str, text: str) -> Any:
    if kind == "boolean" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    convert = {"integer": int, "long": int, "float": float, "double": float}.get(kind)
    try:
        return convert(text) if convert else text
    except ValueError:
        return text
