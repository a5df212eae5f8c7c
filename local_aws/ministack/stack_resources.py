"""What is done around the functions with which ministack's CloudFormation makes and changes resources.

Uses, in `services.cloudformation` of version 1.5.33, `provisioners._RESOURCE_HANDLERS`, `_provision_resource`,
`_update_resource`, `_with_stack_tags` and `_STACK_TAG_PROPERTY`, and `stacks._provision_keeping_seed` and
`_update_keeping_seed`; tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

Properties = Mapping[str, Any]
Problem = Callable[[Properties], str]
"""What AWS would not take of the properties of a resource, in AWS's words; empty if it would take them."""
Check = Callable[[str, str, Properties], str]
"""The same for a resource type, a resource's logical ID, and its properties."""
Around = Callable[[Properties, Callable[[], Any]], Any]
"""Does the work on a resource with these properties, which the second argument is, or refuses it with a ValueError."""
_PLACES: Final = {"create": 1, "update": 2}
"""Where the properties stand among the arguments of a function."""


def refuse(kind: str, problem: Problem, *verbs: str) -> None:
    """Fail the creation and the update of resources of a kind for a problem; `verbs`: only these of the two."""

    def unless_wrong(properties: Properties, work: Callable[[], Any]) -> Any:
        if wrong := problem(properties):
            raise ValueError(wrong)
        return work()

    around(kind, unless_wrong, *verbs)


def refuse_invalid(kind: str, problem: Problem) -> None:
    """Like `refuse`, with the codes that CloudFormation adds to what a service finds invalid."""

    def in_words_of_a_stack(properties: Properties) -> str:
        found = problem(properties)
        return found and f"{found} (Status Code: 400, HandlerErrorCode: InvalidRequest)"

    refuse(kind, in_words_of_a_stack)


def resource_types() -> frozenset[str]:
    """The names of all resource types that stacks can have."""
    from ministack.services.cloudformation import provisioners

    return frozenset(provisioners._RESOURCE_HANDLERS)


def refuse_by_type(check: Check) -> None:
    """Fail the creation and the update of every resource for what `check` says.

    A resource that does not change is not looked at, nor, except in nested stacks, one that a rollback takes back.
    """
    from ministack.services.cloudformation import provisioners, stacks

    with_tags = provisioners._with_stack_tags

    @wraps(with_tags)
    def with_all_tags(kind: str, properties: Properties, *more: Any) -> Any:
        """The properties with all tags: ministack adds those of the stack, and leaves out those without a key."""
        tagged = with_tags(kind, properties, *more)
        name, _ = provisioners._STACK_TAG_PROPERTY.get(kind, ("", ""))
        own = properties.get(name)
        lost = [tag for tag in own if not (isinstance(tag, dict) and "Key" in tag)] if isinstance(own, list) else []
        return {**tagged, name: [*lost, *tagged[name]]} if lost else tagged

    def creating(create: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(create)
        def create_checked(kind: str, logical_id: str, properties: Properties, *more: Any) -> Any:
            if wrong := check(kind, logical_id, properties):
                raise ValueError(wrong)
            return create(kind, logical_id, properties, *more)

        return create_checked

    def updating(update: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(update)
        def update_checked(
            kind: str, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str, *more: Any
        ) -> Any:
            if old != new and (wrong := check(kind, logical_id, new)):
                raise ValueError(wrong)
            return update(kind, physical_id, old, new, stack_name, logical_id, *more)

        return update_checked

    for module in (provisioners, stacks):
        module._with_stack_tags = with_all_tags
    stacks._provision_keeping_seed = creating(stacks._provision_keeping_seed)
    stacks._update_keeping_seed = updating(stacks._update_keeping_seed)
    # These two are what a nested stack calls.
    provisioners._provision_resource = creating(provisioners._provision_resource)
    provisioners._update_resource = updating(provisioners._update_resource)


def around(kind: str, do: Around, *verbs: str) -> None:
    """Let `do` create and update the resources of a kind; `verbs`: only these of the two."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS[kind]
    for verb in verbs or _PLACES:
        if verb in handlers:
            handlers[verb] = _around(handlers[verb], _PLACES[verb], do)


def _around(work: Callable[..., Any], place: int, do: Around) -> Callable[..., Any]:
    @wraps(work)
    def create_or_update(*given: Any) -> Any:
        return do(given[place], lambda: work(*given))

    return create_or_update


def json_object(body: bytes) -> dict[str, Any]:
    """The object in the body of a request; an empty one for what the operation itself refuses."""
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
