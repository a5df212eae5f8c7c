"""Trust policies: whether a service may assume a role, and which of their condition keys are held.

AWS knows values for many keys that nobody has here. A condition on such a key is refused by name: a condition that is
left out would let in whom AWS keeps out, or the reverse.

Uses these internals of version 1.5.33: in `core.iam_evaluator` `EvalContext`, `_action_matches` and
`_conditions_met`, and `services.iam._roles`. tests/contract/test_hooks.py fails for one that moved when ministack is
upgraded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

_ANYBODY: Final = frozenset(
    {"aws:currenttime", "aws:epochtime", "aws:requestedregion", "aws:sourceaccount", "aws:sourcearn"}
)
_CALLERS: Final = _ANYBODY | {
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principaltype",
    "aws:resourceaccount",
    "aws:securetransport",
    "aws:sourceip",
    "aws:tagkeys",
    "aws:userid",
    "aws:username",
    "sts:externalid",
    "sts:rolesessionname",
}
_TAGS: Final = ("aws:principaltag/", "aws:requesttag/")


class ConditionNotHeldError(Exception):
    """A trust policy has a condition that the local AWS does not hold. The message names the role and the key."""


def is_trusting(role_arn: str, *, account: str, region: str, principal: str, source: str = "") -> bool:
    """Whether the account has this role, and the role lets a service of the account assume it.

    Args:
        role_arn: the role.
        account: the account's number, the request's aws:SourceAccount.
        region: of the service's resources.
        principal: the service, for example `sagemaker.amazonaws.com`.
        source: ARN of the resource for which it acts, where that is known: the request's aws:SourceArn.

    Raises:
        ConditionNotHeldError: a statement about the service has a condition that is not held.
    """
    from ministack.core import iam_evaluator
    from ministack.core.responses import set_request_account_id
    from ministack.services import iam

    set_request_account_id(account)
    role = iam._roles.get(role_arn.rsplit("/", 1)[-1])
    # A role that is named by another path or account is another one, which does not exist.
    if role is None or role["Arn"] != role_arn:
        return False
    whole = f"arn:aws:{principal.partition('.')[0]}:{region}:{account}:*"
    asked = iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="Service",
        principal_account=account,
        action="sts:AssumeRole",
        resource_arn=role_arn,
        region=region,
        service_context={"aws:sourceaccount": account, "aws:sourcearn": source or whole},
    )
    allowed = False
    for statement in _statements(role.get("AssumeRolePolicyDocument")):
        if not _names_service(statement, principal) or not _is_about(statement, "sts:AssumeRole"):
            continue
        for operator, key, value in _conditions(statement):
            if key not in _ANYBODY:
                raise _not_held(role_arn, key)
            if key == "aws:sourcearn" and not source and not _is_whole(operator, value):
                raise ConditionNotHeldError(
                    f"The condition {operator} aws:SourceArn {value} in the trust policy of {role_arn} is not held "
                    f"locally, only on AWS: of a resource only the account is known; give ArnLike {whole}"
                )
        if iam_evaluator._conditions_met(statement.get("Condition", {}), asked):
            if statement.get("Effect") == "Deny":
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def refuse_unheld_conditions(role_arn: str) -> None:
    """Before a caller assumes a role: refuse conditions of its trust policy that are not held.

    Raises:
        ConditionNotHeldError: a statement about AssumeRole and principals other than services has one.
    """
    from ministack.services import iam

    role = iam._roles.get(role_arn.rsplit("/", 1)[-1])
    for statement in _statements((role or {}).get("AssumeRolePolicyDocument")):
        principal = statement.get("Principal")
        if isinstance(principal, dict) and "AWS" not in principal:
            continue  # of services and of identity providers
        if _is_about(statement, "sts:AssumeRole") or _is_about(statement, "sts:TagSession"):
            for _, key, _ in _conditions(statement):
                if key not in _CALLERS and not key.startswith(_TAGS):
                    raise _not_held(role_arn, key)


def _not_held(role_arn: str, key: str) -> ConditionNotHeldError:
    return ConditionNotHeldError(
        f"The condition key {key} in the trust policy of {role_arn} is not held locally, only on AWS; leave it out of "
        "the role here"
    )


def _statements(document: Any) -> Iterator[dict[str, Any]]:
    policy = json.loads(document) if isinstance(document, str) else document or {}
    statements = policy.get("Statement", [])
    yield from [statements] if isinstance(statements, dict) else statements


def _names_service(statement: Mapping[str, Any], service: str) -> bool:
    # A principal "*" is every caller, and no service.
    principal = statement.get("Principal")
    services = principal.get("Service", []) if isinstance(principal, dict) else []
    return service in ([services] if isinstance(services, str) else services)


def _is_about(statement: Mapping[str, Any], action: str) -> bool:
    from ministack.core import iam_evaluator

    def listed(name: str) -> list[str]:
        found = statement.get(name, [])
        return [found] if isinstance(found, str) else list(found)

    actions, others = listed("Action"), listed("NotAction")
    return bool(actions or others) and bool(iam_evaluator._action_matches(action, actions, others))


def _conditions(statement: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Operator, key in lower case, and value of each condition."""
    for operator, keys in statement.get("Condition", {}).items():
        for key, value in keys.items():
            yield operator, key.lower(), value


def _is_whole(operator: str, value: Any) -> bool:
    """Whether a condition on aws:SourceArn is about all resources of a service, account and region."""
    values = [value] if isinstance(value, str) else value
    return operator.lower() in {"arnlike", "arnequals", "stringlike"} and all(
        str(one) == "*" or str(one).split(":", 5)[5:] == ["*"] for one in values
    )
