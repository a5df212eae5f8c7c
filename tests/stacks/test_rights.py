"""No unneeded permission: without any one part of any role's policies, a request of the system would be denied.

The requests are those of an enforced rehearsal; tests/rehearsal/test_rights.py makes them and writes them down.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from tests.rights import Deployment, Mutant, allows, mutants, read_witnesses, survivors, with_every_role
from tests.stacks.templates import synthesize

WITNESSED = Path(__file__).parent / "witnessed.json"
# (role, part of its policies, why no rehearsal makes the request)
UNWITNESSED = [
    (
        r"Storage\.CleanupEmpty",
        "action s3:DeleteObject",
        "The local S3 delivers no access logs, so there is nothing to delete in their bucket.",
    ),
    ("", "s3:AbortMultipartUpload", "Only an upload that fails half-way is aborted."),
    (
        "",
        r"resource \S+:log-group:\S+:\* of ",
        "CloudWatch Logs asks for a group with `:*` behind it or without, as it likes.",
    ),
    (
        "Roles|Serving",
        r"statement s3:ListBucket|resource arn:aws:s3:::\S+ of s3:ListBucket",
        "SageMaker lists what it copies, and S3 denies absent keys without it; the local AWS does the latter only.",
    ),
    (
        "RolesTraining",
        "statement s3:DeleteObject",
        "A training deletes the third last checkpoint, and that of a rehearsal is over with the second.",
    ),
    (
        "RolesEvaluate",
        "s3:GetObject",
        "The local AWS keeps what an earlier job has downloaded, and fetches it once for all.",
    ),
    (
        "RolesPipeline",
        r"-(Ingest|Embed|Tune|Train|Evaluate)-\*",
        "SageMaker writes the names of jobs in lower case into ARNs, and may be asked in the case of the step.",
    ),
    ("RolesPipeline", "Stop(Processing|Training|HyperParameterTuning)Job", "Which step a stop meets is chance."),
    (
        "Fingerprint|Reconcile|Monitor|Cleanup",
        "logs:(CreateLogStream|PutLogEvents)",
        "Lambda writes the log of a function by its role; the local one writes it by itself.",
    ),
    (
        "ServingUpdate",
        r"sagemaker:(DescribeModel(Package)?$|DeleteTags|ListTags)|cloudwatch:UntagResource"
        r"|application-autoscaling:(Describe|ListTags|Tag|Untag)",
        "CloudFormation's schemas list it for reading a resource and changing its tags, which it does not do here.",
    ),
    (
        "ServingUpdate",
        r"resource \S+:(model|endpoint-config)/[\w-]+-serving-\* ",
        "CloudFormation begins these names with the logical id; a name that begins with the stack's is allowed for.",
    ),
    ("ServingUpdate", "BacklogWithoutCapacity", "Only an asynchronous endpoint has this alarm."),
    ("Schedule|TurnO", "lambda:InvokeFunction", "The local Scheduler calls functions without asking for the right."),
]
CURE = "give it back, or run WITNESS=1 make test-rehearsal ARGS=tests/rehearsal/test_rights.py if the work changed"


def excused(mutant: Mutant) -> bool:
    """Whether no rehearsal can show what the part is for."""
    return any(
        re.search(role, mutant.role) and re.search(part, mutant.without, re.IGNORECASE) for role, part, _ in UNWITNESSED
    )


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    """Everything that brings a role, deployed."""
    return Deployment(synthesize(with_every_role()))


def test_every_request_that_was_made_is_still_allowed(deployment: Deployment) -> None:
    roles = deployment.roles()
    denied = [
        f"{role} may no longer {request.action} on {request.resource}"
        for role, requests in read_witnesses(WITNESSED.read_text()).items()
        for request in requests
        if not allows(roles.get(role, []), request)
    ]
    assert denied == [], CURE


def test_no_part_of_a_policy_can_be_taken_away(deployment: Deployment) -> None:
    left = [
        mutant for mutant in survivors(deployment.roles(), read_witnesses(WITNESSED.read_text())) if not excused(mutant)
    ]
    assert [f"{mutant.role}: {mutant.without}" for mutant in left] == [], "nobody has been seen to need this"


def test_a_right_that_nothing_uses_is_found(deployment: Deployment) -> None:
    roles = copy.deepcopy(deployment.roles())
    name = next(role for role in roles if "RolesIngest" in role)
    roles[name].append({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::aft-vbi-pds/*"})
    found = [mutant for mutant in survivors(roles, read_witnesses(WITNESSED.read_text())) if not excused(mutant)]
    assert [(mutant.role, mutant.without) for mutant in found] == [(name, "statement s3:DeleteObject")]


def test_every_excuse_is_needed_and_has_a_reason(deployment: Deployment) -> None:
    left = list(survivors(deployment.roles(), read_witnesses(WITNESSED.read_text())))
    for role, part, why in UNWITNESSED:
        assert why.endswith(".")
        assert any(re.search(role, mutant.role) and re.search(part, mutant.without, re.I) for mutant in left), part


def test_a_mutant_lacks_one_statement_one_action_or_one_resource() -> None:
    statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["a", "b"]}
    single = {"Effect": "Allow", "Action": "sns:Publish", "Resource": "c"}
    assert [mutant.without for mutant in mutants("role", [statement, single])] == [
        "action s3:GetObject",
        "action s3:PutObject",
        "resource a of s3:GetObject",
        "resource b of s3:GetObject",
        "statement sns:Publish",
    ]
