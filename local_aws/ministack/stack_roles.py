"""The service role of a stack: CloudFormation acts with it, and with it again later, as AWS does.

ministack does not read RoleARN, and acts with the rights of nobody. Uses these internals of version 1.5.33:
`app.SERVICE_HANDLERS` and, in `services.cloudformation`, `handlers._ACTION_HANDLERS` and `_resolve_stack`,
`changesets._find_change_set`, `helpers._error` and `_p`, and `provisioners._RESOURCE_HANDLERS`;
tests/contract/test_hooks.py fails for one that moved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final
from urllib.parse import parse_qs

from local_aws.ministack import iam, trust

PRINCIPAL: Final = "cloudformation.amazonaws.com"
_ROLE: ContextVar[str] = ContextVar("service role of the stack that changes", default="")
_TAKE_ROLES: Final = (
    *("CreateStack", "UpdateStack", "DeleteStack", "CreateChangeSet"),
    *("ContinueUpdateRollback", "RollbackStack"),
)
_MEMBER = "RoleARN"
Work = Callable[..., Any]
Guard = Callable[[str, str, Mapping[str, Any], Work], Any]
"""Does the work of a resource type's handler: type, `create`, `update` or `delete`, the resource's properties, work."""


def service_role() -> str:
    """The role with which the stack is changed that this thread changes; empty for none."""
    return _ROLE.get()


def follow_service_roles(*, account: str, region: str, enforced: bool) -> None:
    """Read and remember RoleARN; refuse a role that CloudFormation cannot assume, or that the caller may not pass."""
    from ministack.services.cloudformation import handlers

    actions = handlers._ACTION_HANDLERS
    for action in _TAKE_ROLES:
        actions[action] = _changing(actions[action], account, remembers=action != "CreateChangeSet")
    actions["ExecuteChangeSet"] = _executing(actions["ExecuteChangeSet"])
    actions["DescribeStacks"] = _showing(actions["DescribeStacks"])
    if enforced:
        _check_passed_roles(account, region)


def guard_resources(guard: Guard) -> None:
    """Let `guard` do the work of every resource type's handlers, which it may refuse by raising an exception."""
    from ministack.services.cloudformation import provisioners

    for kind, functions in provisioners._RESOURCE_HANDLERS.items():
        for verb, position in (("create", 1), ("update", 2), ("delete", 1)):
            if verb in functions:
                functions[verb] = _guarded(guard, kind, verb, functions[verb], position)


def _guarded(guard: Guard, kind: str, verb: str, work: Work, position: int) -> Work:
    @wraps(work)
    def do(*given: Any) -> Any:
        return guard(kind, verb, given[position] or {}, lambda: work(*given))

    return do


def _changing(handle: Work, account: str, *, remembers: bool) -> Work:
    def change(parameters: dict[str, Any]) -> Any:
        from ministack.core.responses import get_region
        from ministack.services.cloudformation import changesets, handlers, helpers

        named = helpers._p(parameters, _MEMBER)
        try:
            if named and not trust.is_trusting(named, account=account, region=get_region(), principal=PRINCIPAL):
                return helpers._error("ValidationError", f"Role {named} is invalid or cannot be assumed")
        except trust.ConditionNotHeldError as error:
            return helpers._error("NotImplemented", str(error), 501)
        name = helpers._p(parameters, "StackName")
        answer = _with_role(named or _remembered(name), handle, parameters)
        if named and answer[0] == 200:
            if remembers:
                (handlers._resolve_stack(name) or {})[_MEMBER] = named
            else:
                _, found = changesets._find_change_set(helpers._p(parameters, "ChangeSetName"), name)
                (found or {})[_MEMBER] = named
        return answer

    return change


def _executing(handle: Work) -> Work:
    def execute(parameters: dict[str, Any]) -> Any:
        from ministack.services.cloudformation import changesets, handlers, helpers

        _, found = changesets._find_change_set(
            helpers._p(parameters, "ChangeSetName"), helpers._p(parameters, "StackName")
        )
        named, name = (found or {}).get(_MEMBER, ""), (found or {}).get("StackName", "")
        answer = _with_role(named or _remembered(name), handle, parameters)
        if named and answer[0] == 200:
            (handlers._resolve_stack(name) or {})[_MEMBER] = named
        return answer

    return execute


def _with_role(role: str, handle: Work, parameters: dict[str, Any]) -> Any:
    token = _ROLE.set(role)  # the task that changes the stack starts inside, and keeps it
    try:
        return handle(parameters)
    finally:
        _ROLE.reset(token)


def _remembered(name: str) -> str:
    from ministack.services.cloudformation import handlers

    return str((handlers._resolve_stack(name) or {}).get(_MEMBER, "")) if name else ""


def _showing(handle: Work) -> Work:
    def show(parameters: dict[str, Any]) -> Any:
        status, headers, body = handle(parameters)

        def with_role(found: re.Match[str]) -> str:
            role = _remembered(found[1])
            return found[0] + (f"<{_MEMBER}>{role}</{_MEMBER}>" if role else "")

        if status != 200:
            return status, headers, body
        return status, headers, re.sub(r"<StackId>([^<]+)</StackId>", with_role, body.decode()).encode()

    return show


def _check_passed_roles(account: str, region: str) -> None:
    from ministack import app
    from ministack.services.cloudformation import helpers

    handle = app.SERVICE_HANDLERS["cloudformation"]

    async def handle_checked(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Any:
        asked = {**query, **parse_qs(body.decode("utf-8", errors="replace"))}
        for role in asked.get(_MEMBER, ()) if asked.get("Action", [""])[0] in _TAKE_ROLES else ():
            key, passing = iam.access_key_of(headers, query), {"iam:PassedToService": PRINCIPAL}
            if refusal := iam.denial(key, "iam:PassRole", role, passing, account=account, region=region):
                return helpers._error("AccessDenied", refusal, 403)
        return await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS["cloudformation"] = handle_checked
