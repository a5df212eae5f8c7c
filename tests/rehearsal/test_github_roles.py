"""The workflows' own steps, by the same shell, with what a GitHub token gets there: its role's rights and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.github_account import Account, checkout, step

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Bootstrapped, with every stack deployed by an administrator."""
    with LocalAws(tmp_path_factory.mktemp("aws"), enforce_iam=True) as aws:
        account = Account(aws, checkout(tmp_path_factory.mktemp("checkout")))
        account.deploy()
        yield account


@pytest.mark.parametrize(
    ("intent", "claim"),
    [("diff", "pull_request"), ("deploy", "environment:dev"), ("train", "ref:refs/heads/main")],
)
@pytest.mark.parametrize("repository", ["acme/bins", "acme@11/bins@22"], ids=["classic", "immutable"])
def test_a_token_of_the_intent_gets_its_role(account: Account, intent: str, claim: str, repository: str) -> None:
    assert account.credentials(intent, f"repo:{repository}:{claim}")["AWS_SESSION_TOKEN"]


@pytest.mark.parametrize(
    ("intent", "subject"),
    [
        ("deploy", "repo:acme/bins:pull_request"),
        ("deploy", "repo:acme/bins:ref:refs/heads/main"),
        ("deploy", "repo:acme/bins:environment:prod"),
        ("deploy", "repo:acme/others:environment:dev"),
        ("deploy", "repo:mallory/bins:environment:dev"),
        ("deploy", "repo:acme@99/bins@22:environment:dev"),
        ("train", "repo:acme/bins:ref:refs/heads/feature"),
        ("train", "repo:acme/bins:pull_request"),
        ("diff", "repo:fork/bins:pull_request"),
    ],
)
def test_a_token_from_elsewhere_is_refused(account: Account, intent: str, subject: str) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied|InvalidIdentityToken"):
        account.credentials(intent, subject)


def test_a_pull_request_sees_the_diff_and_the_price(account: Account, tmp_path: Path) -> None:
    rights = account.credentials("diff", "repo:acme/bins:pull_request")
    for name in ("Diff against what is deployed", "Price what will be deployed", "Say what would be lost"):
        summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
        done = account.shell(step("pull-request", name), {**rights, **summary})
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
    assert "Number of stacks with differences: 0" in (account.folder / "cdk.diff").read_text()
    assert "$" in (tmp_path / "summary.md").read_text()


def test_a_pull_request_cannot_deploy(account: Account) -> None:
    rights = account.credentials("diff", "repo:acme/bins:pull_request")
    changed = {"BINVENTORY_ENV": "dev", "BINVENTORY_TRAINING__EPOCHS": "7"}
    done = account.shell(step("deploy", "Deploy"), {**rights, **changed})
    assert done.returncode != 0
    assert "not authorized" in done.stdout + done.stderr or "AccessDenied" in done.stdout + done.stderr


def test_the_main_branch_deploys_with_exactly_its_role(account: Account, tmp_path: Path) -> None:
    rights = account.credentials("deploy", "repo:acme/bins:environment:dev")
    changed = {
        "BINVENTORY_ENV": "dev",
        "BINVENTORY_TRAINING__EPOCHS": "7",
        "FLAG": "",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    for name in ("Show the diff", "Stop if data would be lost", "Deploy", "Count a photo through the endpoint"):
        done = account.shell(step("deploy", name), {**rights, **changed})
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
    assert "The endpoint is off" in (tmp_path / "summary.md").read_text()
    again = account.shell(step("deploy", "Show the diff"), {**rights, **changed})
    assert "Number of stacks with differences: 0" in again.stdout


def test_destroying_leaves_the_role_that_acts(account: Account) -> None:
    rights = account.credentials("deploy", "repo:acme/bins:environment:dev")
    done = account.shell(step("destroy", "Destroy"), {**rights, "BINVENTORY_ENV": "dev"})
    assert done.returncode == 0, done.stdout + done.stderr
    stacks = account.client("cloudformation").list_stacks()["StackSummaries"]
    left = {stack["StackName"] for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"}
    assert {stack for stack in left if stack.startswith("binventory-")} == {"binventory-dev-github"}
