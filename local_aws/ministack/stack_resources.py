"""What is done around the functions with which ministack's CloudFormation makes and changes resources.

Uses `services.cloudformation.provisioners._RESOURCE_HANDLERS` of version 1.5.33; tests/contract/test_hooks.py fails if
it moved when ministack is upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

Properties = Mapping[str, Any]
Problem = Callable[[Properties], str]
"""What AWS would not take of the properties of a resource, in AWS's words; empty if it would take them."""
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
