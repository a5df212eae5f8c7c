"""The GitHub stack: who may assume which role, and what a role may do."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from app import build
from binventory.core.bootstrap import DEFAULT_QUALIFIER, QUALIFIER_CONTEXT
from stacks.settings import InvalidSettingsError, load
from tests.conftest import REPOSITORY

ISSUER = "token.actions.githubusercontent.com"
Json = dict[str, Any]


def built(**context: str) -> cdk.App:
    """The app of this environment, with the feature flags of cdk.json and more context."""
    flags = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    app = cdk.App(context=flags | context, builtin_cloud_formation_validation=False)
    build(app, load("dev"))
    return app


@pytest.fixture(scope="module")
def resources() -> dict[str, Json]:
    """Every resource of the GitHub stack of a repository whose numbers are known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BINVENTORY_GITHUB__REPOSITORY", "acme/bins")
        patch.setenv("BINVENTORY_GITHUB__OWNER_ID", "11")
        patch.setenv("BINVENTORY_GITHUB__REPOSITORY_ID", "22")
        app = built()
    stack = app.node.find_child("Github")
    assert isinstance(stack, cdk.Stack)
    found: dict[str, Json] = Template.from_stack(stack).to_json()["Resources"]
    return found


def role(resources: dict[str, Json], intent: str) -> Json:
    name = f"binventory-dev-github-{intent}"
    return next(item["Properties"] for item in resources.values() if item["Properties"].get("RoleName") == name)


def statements(resources: dict[str, Json], intent: str) -> list[Json]:
    policy = next(
        item["Properties"]
        for name, item in resources.items()
        if item["Type"] == "AWS::IAM::Policy" and name.startswith(f"{intent.capitalize()}Role")
    )
    found: list[Json] = policy["PolicyDocument"]["Statement"]
    return found


@pytest.mark.parametrize(
    ("intent", "claims"),
    [
        ("diff", ["pull_request", "ref:refs/heads/main"]),
        ("deploy", ["environment:dev"]),
        ("train", ["ref:refs/heads/main"]),
    ],
)
def test_a_role_trusts_whole_subjects_of_its_intent_in_both_forms(
    resources: dict[str, Json], intent: str, claims: list[str]
) -> None:
    (trust,) = role(resources, intent)["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert list(trust["Condition"]) == ["StringEquals"], "a pattern would let other branches and forks in"
    condition = trust["Condition"]["StringEquals"]
    assert condition[f"{ISSUER}:aud"] == "sts.amazonaws.com"
    subjects = condition[f"{ISSUER}:sub"]
    assert sorted([subjects] if isinstance(subjects, str) else subjects) == sorted(
        f"{repository}:{claim}" for claim in claims for repository in ("repo:acme/bins", "repo:acme@11/bins@22")
    )


def test_no_role_may_do_everything_or_to_everything(resources: dict[str, Json]) -> None:
    for intent in ("diff", "deploy", "train"):
        assert "ManagedPolicyArns" not in role(resources, intent)
        for statement in statements(resources, intent):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in actions if "*" in action]
            assert statement["Resource"] != "*"


def test_deploy_may_count_a_photo_in_the_mode_that_is_served(
    resources: dict[str, Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a queue the command line uploads the photo and looks for the answer until it is there."""

    def rights(found: dict[str, Json]) -> dict[str, str]:
        return {
            action: str(statement["Resource"])
            for statement in statements(found, "deploy")
            for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        }

    assert {"sagemaker:InvokeEndpoint"} == {action for action in rights(resources) if "Invoke" in action}
    monkeypatch.setenv("BINVENTORY_GITHUB__REPOSITORY", "acme/bins")
    monkeypatch.setenv("BINVENTORY_SERVING__MODE", "async")
    monkeypatch.setenv("BINVENTORY_SERVING__DATA_CAPTURE_PERCENT", "0")
    template = Template.from_stack(built().node.find_child("Github")).to_json()  # type: ignore[arg-type]
    queued = rights(template["Resources"])
    assert {"sagemaker:InvokeEndpointAsync"} == {action for action in queued if "Invoke" in action}
    assert "storage-databucket*/async/input/*" in queued["s3:PutObject"]
    assert "storage-databucket*/async/output/*" in queued["s3:GetObject"]
    assert "storage-databucket*/async/failures/*" in queued["s3:GetObject"]
    assert "storage-databucket*" in queued["s3:ListBucket"]


@pytest.mark.parametrize("project", ["bins", "warehouse-of-bins", "warehouses-of-europe"])
def test_the_roles_reach_buckets_whose_names_cloudformation_shortens(
    monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    """A bucket's name has 63 letters at most, and the longest name of a project takes more."""
    monkeypatch.setenv("BINVENTORY_GITHUB__REPOSITORY", "acme/bins")
    monkeypatch.setenv("BINVENTORY_PROJECT", project)
    monkeypatch.setenv("BINVENTORY_SERVING__MODE", "async")
    monkeypatch.setenv("BINVENTORY_SERVING__DATA_CAPTURE_PERCENT", "0")
    template = Template.from_stack(built().node.find_child("Github")).to_json()  # type: ignore[arg-type]
    text = str(statements(template["Resources"], "deploy") + statements(template["Resources"], "train"))
    patterns = set(re.findall(r"[\w*-]+-(?:data|model)bucket\*", text))
    storage = f"{project}-dev-storage"
    for logical in ("databuckete3889a50", "modelbucketb33d855b"):
        endings = f"-{logical}-abcdefghijklm"
        for kept in {len(storage)} if len(storage + endings) <= 63 else {24, 63 - len(endings)}:
            name = storage[:kept] + endings
            assert len(name) <= 63
            assert [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)], name
    other = f"{project}-prod-storage"
    for kept in (24, len(other)):
        assert not [each for each in patterns if fnmatch.fnmatchcase(f"{other[:kept]}-databucketx", each)]


def test_diff_reads_only(resources: dict[str, Json]) -> None:
    text = str(statements(resources, "diff"))
    assert "lookup-role" in text
    assert not [word for word in ("deploy-role", "publishing-role", "cfn-exec", "sagemaker:") if word in text]


def test_nobody_takes_on_the_role_that_creates_resources_directly(resources: dict[str, Json]) -> None:
    assert "cfn-exec-role" not in str(resources)


def test_train_cannot_deploy(resources: dict[str, Json]) -> None:
    text = str(statements(resources, "train"))
    assert "sagemaker:StartPipelineExecution" in text
    assert "sts:AssumeRole" not in text


def test_a_provider_that_exists_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
    monkeypatch.setenv("BINVENTORY_GITHUB__REPOSITORY", "acme/bins")
    monkeypatch.setenv("BINVENTORY_GITHUB__PROVIDER", arn)
    template = Template.from_stack(built().node.find_child("Github"))  # type: ignore[arg-type]
    template.resource_count_is("AWS::IAM::OIDCProvider", 0)
    assert arn in str(template.to_json())
    # Without the repository's numbers nothing but the classic subject is trusted.
    assert "repo:acme@" not in str(template.to_json())


def test_the_roles_of_a_bootstrap_with_another_qualifier_are_named_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_GITHUB__REPOSITORY", "acme/bins")
    app = built(**{QUALIFIER_CONTEXT: "acme1"})
    written = json.dumps([stack.template for stack in app.synth().stacks])
    assert "cdk-acme1-lookup-role" in written
    assert "cdk-acme1-deploy-role" in written
    assert DEFAULT_QUALIFIER not in written


def test_without_a_repository_there_is_no_github_stack() -> None:
    assert built().node.try_find_child("Github") is None


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("REPOSITORY", "just-a-name", "github.repository"),
        ("REPOSITORY", "acme/bins:*", "github.repository"),
        ("REPOSITORY_ID", "0", "github.repository_id"),
        ("PROVIDER", "arn:aws:iam::123456789012:oidc-provider/gitlab.com", "github.provider"),
        ("BRANCH", "*", "github.branch"),
    ],
)
def test_a_wrong_setting_is_named_before_synth(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str
) -> None:
    monkeypatch.setenv(f"BINVENTORY_GITHUB__{variable}", value)
    with pytest.raises(InvalidSettingsError, match=field) as raised:
        load("dev")
    assert value in str(raised.value)
