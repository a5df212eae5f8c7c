"""The workflows' own steps, by the same shell, with what a GitHub token gets there: its role's rights and no others.

The local AWS enforces policies and trust conditions; it does not check who signed a token, so tokens are written here.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import yaml
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

ISSUER = "https://token.actions.githubusercontent.com"
GITHUB = {
    "BINVENTORY_GITHUB__REPOSITORY": "acme/bins",
    "BINVENTORY_GITHUB__OWNER_ID": "11",
    "BINVENTORY_GITHUB__REPOSITORY_ID": "22",
}


@dataclass(frozen=True)
class Account:
    """A local account into which an administrator has deployed the stacks once."""

    aws: LocalAws
    folder: Path

    def shell(self, script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Runs a script as a GitHub runner does: bash, ended by the first failure, also inside a pipe."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**inherited, **self.aws.environment(), **GITHUB, "CI": "true", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def credentials(self, intent: str, subject: str) -> dict[str, str]:
        """What the runner gets for a token with this subject; raises ClientError where the role does not trust it."""
        sts = boto3.client(
            "sts",
            endpoint_url=self.aws.endpoint_url,
            region_name=self.aws.region,
            config=Config(signature_version=UNSIGNED),
        )
        given = sts.assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::{self.aws.account}:role/binventory-dev-github-{intent}",
            RoleSessionName="GitHubActions",
            WebIdentityToken=token(subject),
        )["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }


def token(subject: str) -> str:
    """A token shaped like GitHub's."""
    claims = {"iss": ISSUER, "aud": "sts.amazonaws.com", "sub": subject, "iat": 1, "exp": 4102444800}
    parts = [{"alg": "RS256", "typ": "JWT", "kid": "local"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"unsigned").decode()])


def step(workflow: str, name: str) -> str:
    """The script of one step."""
    jobs = yaml.safe_load((REPOSITORY / f".github/workflows/{workflow}.yml").read_text())["jobs"]
    return str(next(step["run"] for job in jobs.values() for step in job["steps"] if step.get("name") == name))


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Bootstrapped, with every stack deployed by an administrator."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in REPOSITORY.iterdir():
        if entry.name not in {"cdk.out", ".git"}:
            (folder / entry.name).symlink_to(entry)
    with LocalAws(tmp_path_factory.mktemp("aws"), enforce_iam=True) as aws:
        account = Account(aws, folder)
        bootstrap = f"(cd /tmp && {REPOSITORY}/node_modules/.bin/cdk bootstrap aws://{aws.account}/{aws.region})"
        deploy = "node_modules/.bin/cdk deploy --all --require-approval never -c env=dev"
        done = account.shell(f"source .venv/bin/activate\n{bootstrap}\n{deploy}", {})
        assert done.returncode == 0, done.stdout + done.stderr
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
    stacks = boto3.client(
        "cloudformation",
        endpoint_url=account.aws.endpoint_url,
        region_name=account.aws.region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).list_stacks()["StackSummaries"]
    left = {stack["StackName"] for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"}
    assert {stack for stack in left if stack.startswith("binventory-")} == {"binventory-dev-github"}
