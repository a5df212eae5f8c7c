"""Two public scanners on every role's policies: parliament checks the grammar, cloudsplaining the reach."""

from __future__ import annotations

import importlib
import importlib.resources
import json
import sys
import types
from typing import Any

import pytest
from cloudsplaining.scan.policy_document import PolicyDocument

from stacks.policies.iam import WITHOUT_RESOURCE
from stacks.settings import load
from tests.rights import Deployment, with_every_role
from tests.stacks.templates import synthesize

Json = dict[str, Any]
# Accepted findings of parliament, by the start of the role's name, with the reason.
ACCEPTED = {
    ("Storage.CleanupEmptyRole", "RESOURCE_POLICY_PRIVILEGE_ESCALATION"): (
        "It denies writes to each bucket of the environment before it empties it; it changes no other bucket policy."
    )
}
# Findings of cloudsplaining for statements that name no resource.
_REACH = (
    "allows_privilege_escalation",
    "credentials_exposure",
    "permissions_management_without_constraints",
    "service_wildcard",
    "tagging_actions_without_constraints",
    "write_actions_without_constraints",
    "allows_data_exfiltration_actions",
    "infrastructure_modification",
)


@pytest.fixture(scope="module", params=["dev with every role", "prod"])
def roles(request: pytest.FixtureRequest) -> dict[str, list[Json]]:
    """The statements of every role."""
    settings = load("prod") if request.param == "prod" else with_every_role()
    found = Deployment(synthesize(settings)).roles()
    assert len(found) > 8
    return found


@pytest.fixture(scope="module")
def parliament() -> Any:
    """The linter, which asks setuptools for its data in a way that setuptools no longer knows."""
    stand_in: Any = types.ModuleType("pkg_resources")
    stand_in.resource_filename = lambda package, name: str(importlib.resources.files(package).joinpath(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pkg_resources", stand_in)
        return importlib.import_module("parliament")


def policy(statements: list[Json]) -> Json:
    """A whole policy document."""
    return {"Version": "2012-10-17", "Statement": statements}


def test_parliament_knows_every_action_resource_and_condition(roles: dict[str, list[Json]], parliament: Any) -> None:
    found = [
        (role, finding.issue, finding.detail)
        for role, statements in roles.items()
        for finding in parliament.analyze_policy_string(json.dumps(policy(statements))).findings
    ]
    assert [finding for finding in found if not _accepted(*finding[:2])] == []


def _accepted(role: str, issue: str) -> bool:
    return any(role.startswith(start) and issue == known for start, known in ACCEPTED)


def test_parliament_finds_a_misspelt_action_and_a_resource_of_another_kind(parliament: Any) -> None:
    planted = [
        {"Effect": "Allow", "Action": "s3:GetObjekt", "Resource": "arn:aws:s3:::b/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b/*"},
    ]
    issues = {finding.issue for finding in parliament.analyze_policy_string(json.dumps(policy(planted))).findings}
    assert issues == {"UNKNOWN_ACTION", "RESOURCE_MISMATCH"}


@pytest.mark.parametrize("reach", _REACH)
def test_cloudsplaining_finds_no_reach_beyond_the_named(roles: dict[str, list[Json]], reach: str) -> None:
    found = {role: _reach(statements, reach) for role, statements in roles.items()}
    assert {role: actions for role, actions in found.items() if actions} == {}


def _reach(statements: list[Json], reach: str) -> list[str]:
    actions = [str(action) for action in getattr(PolicyDocument(policy(statements)), reach)]
    return [action for action in actions if action.lower() not in {known.lower() for known in WITHOUT_RESOURCE}]


def test_cloudsplaining_finds_a_role_that_can_make_itself_administrator() -> None:
    planted = policy([{"Effect": "Allow", "Action": ["iam:CreatePolicyVersion", "s3:GetObject"], "Resource": "*"}])
    assert PolicyDocument(planted).allows_privilege_escalation
    assert PolicyDocument(planted).allows_data_exfiltration_actions == ["s3:GetObject"]
