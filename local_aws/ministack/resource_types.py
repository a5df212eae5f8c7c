"""The parameter ResourceTypes of stack operations, which ministack does not read, and IAM's condition keys for them.

Uses `services.cloudformation.handlers._ACTION_HANDLERS`, and `_error`, `_extract_members`, `_p` and `_resolve_template`
of `services.cloudformation.helpers` of version 1.5.33; tests/contract/test_hooks.py fails for one that moved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_MEMBER = re.compile(r"ResourceTypes\.member\.\d+")
_KEYS = {
    "cloudformation:changesetname": "ChangeSetName",
    "cloudformation:rolearn": "RoleARN",
    "cloudformation:stackpolicyurl": "StackPolicyURL",
    "cloudformation:templateurl": "TemplateURL",
}


def condition_keys(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The condition keys of a stack operation, in small letters."""
    found: dict[str, Any] = {key: _first(parameters[name]) for key, name in _KEYS.items() if name in parameters}
    if types := _named(parameters):
        found["cloudformation:resourcetypes"] = types
    return found


def hold_templates_to_resource_types() -> None:
    """Refuse a template with resource types that the request's ResourceTypes lack, unchanged ones included.

    AWS documents it for resources that are created or updated; that unchanged ones count is the stricter reading.
    """
    from ministack.services.cloudformation import handlers

    for action in ("CreateStack", "UpdateStack", "CreateChangeSet"):
        handlers._ACTION_HANDLERS[action] = _holding(handlers._ACTION_HANDLERS[action])


def _holding(handle: Any) -> Any:
    def handle_held(parameters: dict[str, Any]) -> Any:
        from ministack.services.cloudformation import helpers

        named = _named(parameters)
        others = sorted(_types(parameters) - set(named)) if named else []
        if others:
            return helpers._error(
                "ValidationError",
                f"Resource types {others} of the template are not among the ResourceTypes of the request",
            )
        return handle(parameters)

    return handle_held


def _types(parameters: dict[str, Any]) -> set[str]:
    """The resource types of the template that the request sends, or that its stack has."""
    from ministack.services.cloudformation import engine, handlers, helpers

    body, error = helpers._resolve_template(parameters)
    if error:
        return set()  # the operation itself refuses it
    if not body:
        stack = handlers._resolve_stack(helpers._p(parameters, "StackName")) or {}
        body = stack.get("_template_body", "{}")
    try:
        template = engine._parse_template(body)
    except Exception:
        return set()  # the operation itself refuses it
    return {str(item.get("Type")) for item in template.get("Resources", {}).values()}


def _named(parameters: Mapping[str, Any]) -> list[str]:
    return [_first(value) for name, value in sorted(parameters.items()) if _MEMBER.fullmatch(name)]


def _first(value: Any) -> str:
    return str(value[0]) if isinstance(value, Sequence) and not isinstance(value, str) and value else str(value)
