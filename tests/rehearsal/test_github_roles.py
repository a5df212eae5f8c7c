"""The workflows' steps in the same shell, with only the permissions of a GitHub token's role."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.conftest import REPOSITORY
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
    base = commits(account.folder / "base", epochs=("20",))
    dev = base / "settings/dev.yaml"
    dev.write_text(dev.read_text().replace("instance_type: ml.m5.large", "instance_type: ml.m5.xlarge"))
    for name in ("Diff against what is deployed", "Price what will be deployed", "Say what would be lost"):
        summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
        done = account.shell(step("pull-request", name), {**rights, **summary})
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
    assert "Number of stacks with differences: 0" in (account.folder / "cdk.diff").read_text()
    (endpoint,) = re.findall(r"\| A month of the endpoint, more \|(.*)", (tmp_path / "summary.md").read_text())
    before, now, difference = (cell.strip() for cell in endpoint.strip(" |").split("|"))
    assert float(before.strip("$")) > float(now.strip("$"))
    assert difference.startswith("-")


def test_a_base_branch_that_cannot_be_synthesized_is_reported(account: Account, tmp_path: Path) -> None:
    rights = account.credentials("diff", "repo:acme/bins:pull_request")
    shutil.rmtree(account.folder / "base", ignore_errors=True)
    (account.folder / "base").mkdir()
    environment = {**rights, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    done = account.shell(step("pull-request", "Price what will be deployed"), environment)
    assert done.returncode == 0, done.stdout + done.stderr
    comment = (account.folder / "cost.md").read_text()
    assert comment.startswith("The base branch cannot be synthesized")
    assert "| One pipeline execution | $" in comment


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


def test_a_deployment_whose_smoke_test_fails_is_taken_back(account: Account, tmp_path: Path) -> None:
    rights = account.credentials("deploy", "repo:acme/bins:environment:dev")
    variables = {**rights, "BINVENTORY_ENV": "dev", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    there = Account(account.aws, commits(tmp_path / "clone", epochs=("31", "32")), account.settings)
    done = there.shell(step("deploy", "Deploy"), variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert epochs(account) == 32
    before = there.shell("git rev-parse HEAD^", {}).stdout.strip()
    done = there.shell(step("deploy", "Roll back"), {**variables, "BEFORE": before})
    assert done.returncode == 0, done.stdout + done.stderr
    assert epochs(account) == 31
    assert before in (tmp_path / "summary.md").read_text()


def commits(folder: Path, *, epochs: tuple[str, ...]) -> Path:
    """A clone of what is checked out here, with a commit for each number of epochs in settings/dev.yaml."""
    folder.mkdir()
    # Everything that a synthesis reads: parts of `binventory` are packed with the code of the jobs.
    folders = ("settings", "stacks", "binventory", "training_code", "inference_code", "lambda_code")
    for name in ("app.py", "cdk.json", *folders):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, folder / name)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    dev = folder / "settings/dev.yaml"
    for number in epochs:
        dev.write_text(re.sub(r"  epochs: \d+", f"  epochs: {number}", dev.read_text()))
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", f"{number} epochs"], check=True)
    for name in (".venv", "node_modules"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def epochs(account: Account) -> int:
    """The default of the deployed pipeline's parameter."""
    found = account.client("sagemaker").describe_pipeline(PipelineName="binventory-dev")["PipelineDefinition"]
    return next(int(item["DefaultValue"]) for item in json.loads(found)["Parameters"] if item["Name"] == "Epochs")


def test_the_night_looks_for_drift_leftovers_and_cost(account: Account, tmp_path: Path) -> None:
    rights = account.credentials("diff", "repo:acme/bins:ref:refs/heads/main")
    summary = tmp_path / "summary.md"
    variables = {"BINVENTORY_ENV": "dev", "GITHUB_STEP_SUMMARY": str(summary)}
    lookup = account.chained(rights, "nightly", f"cdk-hnb659fds-lookup-role-{account.aws.account}-{account.aws.region}")
    for name in ("Compare the account with its templates", "Look for leftovers", "Report the cost"):
        done = account.shell(step("nightly", name), {**lookup, **variables})
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
    assert "### Leftovers" in summary.read_text()
    assert "$" in summary.read_text()


def test_destroying_leaves_the_role_that_acts(account: Account) -> None:
    rights = account.credentials("deploy", "repo:acme/bins:environment:dev")
    done = account.shell(step("destroy", "Destroy"), {**rights, "BINVENTORY_ENV": "dev"})
    assert done.returncode == 0, done.stdout + done.stderr
    stacks = account.client("cloudformation").list_stacks()["StackSummaries"]
    left = {stack["StackName"] for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"}
    assert {stack for stack in left if stack.startswith("binventory-")} == {"binventory-dev-github"}
