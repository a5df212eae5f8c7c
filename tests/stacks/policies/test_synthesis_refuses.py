"""`cdk synth` refuses what a rule forbids, and prints the cure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stacks.policies.acknowledged import is_accepted
from stacks.policies.pack import all_rules
from tests.github_account import checkout, step

# The app with one more resource, such as a contributor might add.
CANARY = """
import sys
import app
from aws_cdk import aws_iam as iam, aws_s3 as s3, aws_sagemaker as sagemaker, aws_sns as sns
build = app.build
def build_with_canary(root, settings):
    build(root, settings)
    stack = root.node.find_child("Storage")
    {canary}
app.build = build_with_canary
sys.exit(app.main())
"""


def synthesize(repository: Path, folder: Path, canary: str) -> subprocess.CompletedProcess[str]:
    (folder / "canary.py").write_text(CANARY.format(canary=canary))
    return subprocess.run(
        [
            repository / "node_modules/.bin/cdk",
            "synth",
            "--quiet",
            "--no-notices",
            *("--app", f"{sys.executable} {folder / 'canary.py'}"),
            *("--output", folder / "assembly"),
        ],
        cwd=repository,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(repository),
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shipped_app_passes_every_pack_and_the_workflow_reports_it(repository: Path, tmp_path: Path) -> None:
    script = step("pull-request", "Synthesize and report what the policies say")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=checkout(tmp_path),
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reported = (tmp_path / "summary.md").read_text()
    for environment in ("dev", "prod"):
        assert f"### Policies: {environment}" in reported
    # The CDK lists the packs that have found or acknowledged something.
    assert reported.count("| NIST.800.53.R5 | success | 0 |") == 2
    assert "failure" not in reported


# What somebody might add, with the rule that refuses it and a word of the cure that is printed.
PLANTED = {
    "s3.CfnBucket(stack, 'Public')": ("BV-PrivateBuckets", "set enforce_ssl and block_public_access"),
    "iam.Role(stack, 'Wild', assumed_by=iam.AnyPrincipal()).add_to_policy("
    "iam.PolicyStatement(actions=['s3:*'], resources=['*']))": ("BV-WidePermissions", "List the actions"),
    "sagemaker.CfnModel(stack, 'Open', execution_role_arn='arn:aws:iam::123456789012:role/r')": (
        "BV-ModelIsolation",
        "Set EnableNetworkIsolation to true",
    ),
    "sns.Topic(stack, 'Alerts').add_to_resource_policy(iam.PolicyStatement("
    "actions=['sns:Publish'], principals=[iam.AnyPrincipal()], resources=['*']))": (
        "BV-OwnAccount",
        "aws:SourceAccount",
    ),
}


def test_what_is_planted_is_refused_with_its_cure_and_without_a_traceback(repository: Path, tmp_path: Path) -> None:
    done = synthesize(repository, tmp_path, "; ".join(PLANTED))
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    for rule, cure in PLANTED.values():
        assert rule in said
        assert cure in said
        link = next(known.link for known in all_rules() if known.id == rule)
        assert link in said
    assert "AwsSolutions" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:s3:::*",
        "arn:aws:iam::<AWS::AccountId>:role/*",
        "arn:aws:sagemaker:us-east-1:<AWS::AccountId>:*",
        "arn:aws:logs:us-east-1:<AWS::AccountId>:log-group:*",
        "arn:aws:cloudformation:us-east-1:<AWS::AccountId>:stack/*",
    ],
)
def test_a_wildcard_without_a_name_before_it_is_not_accepted(resource: str) -> None:
    assert not is_accepted(f"AwsSolutions-IAM5[Resource::{resource}]")


def test_a_wildcard_in_an_action_is_never_accepted() -> None:
    assert not is_accepted("AwsSolutions-IAM5[Action::s3:*]")
