"""`cdk synth` refuses what a rule forbids and prints the cure."""

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
from aws_cdk import aws_iam as iam, aws_logs as logs, aws_s3 as s3, aws_sagemaker as sagemaker, aws_sns as sns
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
            "PYTHONPATH": str(repository),
            "AWS_EC2_METADATA_DISABLED": "true",
            # The CDK's own checks of templates take half of the time. They run for the shipped app.
            "CDK_VALIDATION": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shipped_app_passes_every_pack_and_the_workflow_reports_it(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        step("pull-request", "Synthesize and report what the policies say").command(),
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


def test_photos_at_any_address_that_the_settings_take_pass_every_pack(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data lake names its folders `site=hall1`, which ended in a finding about a wildcard and no cure."""
    monkeypatch.setenv("BINVENTORY_DATA__PHOTOS_URI", "s3://lake/site=hall 1/2026+new Größe/")
    monkeypatch.setenv("BINVENTORY_DATA__LABELS_URI", "s3://lake/site=hall 1/labels (new).csv")
    monkeypatch.setenv("BINVENTORY_BATCH__PHOTOS_URIS", '["s3://lake/site=hall2/"]')
    monkeypatch.setenv("BINVENTORY_TRAINING__WEIGHTS", "s3://lake/model=resnet50/weights.pth")
    done = synthesize(repository, tmp_path, "pass")
    assert done.returncode == 0, done.stdout + done.stderr


# What somebody might add, with the rule of ours that refuses it and a word of the cure that is printed.
PLANTED = {
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
# What the public packs refuse, so that no rule of ours repeats it.
_ROLE = "iam.CfnRole(stack, '{name}', assume_role_policy_document={{'Statement': []}}, {given})"
_POLICY = "policies=[iam.CfnRole.PolicyProperty(policy_name='p', policy_document={{'Statement': [{statement}]}})]"
_BLOCKS = "s3.CfnBucket.PublicAccessBlockConfigurationProperty(block_public_acls=True)"


def _with_policy(name: str, statement: dict[str, str]) -> str:
    return _ROLE.format(name=name, given=_POLICY.format(statement={"Effect": "Allow", "Resource": "*", **statement}))


PLANTED_FOR_PUBLIC_PACKS = {
    _with_policy("Wild", {"Action": "s3:*"}): ["AwsSolutions-IAM5[Action::s3:*]"],
    _with_policy("AllBut", {"NotAction": "s3:GetObject"}): ["Storage/AllBut"],
    _ROLE.format(name="Full", given="managed_policy_arns=['arn:aws:iam::aws:policy/AmazonSageMakerFullAccess']"): [
        "AwsSolutions-IAM4[Policy::arn:aws:iam::aws:policy/AmazonSageMakerFullAccess]"
    ],
    "s3.CfnBucket(stack, 'Plain')": [
        "AwsSolutions-S10",
        "NIST.800.53.R5-S3BucketSSLRequestsOnly",
        "NIST.800.53.R5-S3BucketPublicReadProhibited",
        "NIST.800.53.R5-S3BucketPublicWriteProhibited",
    ],
    f"s3.CfnBucket(stack, 'Half', public_access_block_configuration={_BLOCKS})": [
        "AwsSolutions-S2",
        "NIST.800.53.R5-S3BucketLevelPublicAccessProhibited",
    ],
    "logs.CfnLogGroup(stack, 'ForEver')": ["NIST.800.53.R5-CloudWatchLogGroupRetentionPeriod"],
}


def test_what_is_planted_is_refused_with_its_cure_and_without_a_traceback(repository: Path, tmp_path: Path) -> None:
    done = synthesize(repository, tmp_path, "; ".join([*PLANTED, *PLANTED_FOR_PUBLIC_PACKS]))
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    for rule, cure in PLANTED.values():
        assert rule in said
        assert cure in said
        link = next(known.link for known in all_rules() if known.id == rule)
        assert link in said
    for rules in PLANTED_FOR_PUBLIC_PACKS.values():
        for rule in rules:
            assert rule in said
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
