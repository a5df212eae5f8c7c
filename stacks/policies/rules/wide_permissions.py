"""No policy allows everything, on anything, or by a managed FullAccess."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, as_list, flatten, statements
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for resource, statement in statements(assembly):
        if statement.get("Effect") == "Allow":
            wide = [str(action) for action in as_list(statement.get("Action", [])) if _is_wide(str(action))]
            if wide or "NotAction" in statement:
                yield Finding(resource, "Action", ", ".join(wide) or "everything but a list (NotAction)")
    for role in assembly.of_type("AWS::IAM::Role"):
        for policy in role.properties.get("ManagedPolicyArns", []):
            name = flatten(policy).rsplit("/", 1)[-1]
            if "FullAccess" in name or name in ("AdministratorAccess", "PowerUserAccess"):
                yield Finding(role, "ManagedPolicyArns", name)


def _is_wide(action: str) -> bool:
    return action == "*" or action.endswith(":*")


RULE = Rule(
    id="BV-WidePermissions",
    why="A role that may do more than its work turns one mistake into the account's.",
    fix="List the actions that the code calls; run the rehearsal with --enforce-iam to see which those are.",
    link="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
    find=_find,
)
