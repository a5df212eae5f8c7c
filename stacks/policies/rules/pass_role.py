"""Roles are handed to a named service only."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, as_list, flatten, statements
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for resource, statement in statements(assembly):
        actions = [str(action).lower() for action in as_list(statement.get("Action", []))]
        if statement.get("Effect") != "Allow" or not any(_passes(action) for action in actions):
            continue
        roles = [flatten(role) for role in as_list(statement.get("Resource", []))]
        if wild := [role for role in roles if "*" in role]:
            yield Finding(resource, "iam:PassRole", f"allowed on {', '.join(wild)}")
        if "iam:PassedToService" not in str(statement.get("Condition", {})):
            yield Finding(resource, "iam:PassRole", "allowed without a condition on iam:PassedToService")


def _passes(action: str) -> bool:
    return action in ("*", "iam:*", "iam:pass*", "iam:passrole")


RULE = Rule(
    id="BV-PassRole",
    why="Whoever can pass any role to any service can take on the rights of all of them.",
    fix="Name the roles, and add a condition on iam:PassedToService.",
    link="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html",
    find=_find,
)
