"""`binventory review` on the output of the pinned CDK CLI: it names what a deployment would lose, and stops it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3

from binventory.cli import run
from binventory.core.errors import Problem
from binventory.deployment.review import Loss, losses

Template = dict[str, Any]


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack `Shop` with two buckets, one of them named."""
    folder = tmp_path_factory.mktemp("assembly")
    app = cdk.App(outdir=str(folder), builtin_cloud_formation_validation=False)
    stack = cdk.Stack(app, "Shop")
    s3.Bucket(stack, "Named", bucket_name="photos-of-bins")
    s3.Bucket(stack, "Plain")
    app.synth()
    return folder


@pytest.fixture
def template(assembly: Path) -> Template:
    """The template to be deployed; a test derives the deployed one from it."""
    read: Template = json.loads((assembly / "Shop.template.json").read_text())
    return read


def cdk_diff(repository: Path, assembly: Path, deployed: Template, folder: Path) -> str:
    """The output of `cdk diff` from `deployed` to the assembly's template."""
    before = folder / "deployed.json"
    before.write_text(json.dumps(deployed))
    done = subprocess.run(
        [repository / "node_modules/.bin/cdk", "diff", "--app", assembly, "--template", before, "Shop"],
        env={
            **os.environ,
            "PATH": f"{repository / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def logical_id(template: Template, start: str) -> str:
    return next(str(name) for name in template["Resources"] if name.startswith(start))


def test_a_renamed_bucket_is_a_loss(repository: Path, assembly: Path, template: Template, tmp_path: Path) -> None:
    template["Resources"][logical_id(template, "Named")]["Properties"]["BucketName"] = "another-name"
    assert losses(cdk_diff(repository, assembly, template, tmp_path)) == [
        Loss("Shop", "Named", "AWS::S3::Bucket", "replace")
    ]


@pytest.mark.parametrize(("policy", "verdict"), [("Delete", "destroy"), ("Retain", "orphan")])
def test_a_removed_bucket_is_a_loss(
    repository: Path, assembly: Path, template: Template, tmp_path: Path, policy: str, verdict: str
) -> None:
    template["Resources"]["Gone"] = {"Type": "AWS::S3::Bucket", "Properties": {}, "DeletionPolicy": policy}
    assert losses(cdk_diff(repository, assembly, template, tmp_path)) == [
        Loss("Shop", "Gone", "AWS::S3::Bucket", verdict)
    ]


def test_what_holds_no_state_may_go(repository: Path, assembly: Path, template: Template, tmp_path: Path) -> None:
    template["Resources"]["Rule"] = {"Type": "AWS::Events::Rule", "Properties": {"ScheduleExpression": "rate(1 day)"}}
    template["Resources"][logical_id(template, "Plain")]["Properties"] = {"Tags": [{"Key": "a", "Value": "b"}]}
    assert losses(cdk_diff(repository, assembly, template, tmp_path)) == []


def test_an_equal_template_loses_nothing(repository: Path, assembly: Path, template: Template, tmp_path: Path) -> None:
    assert losses(cdk_diff(repository, assembly, template, tmp_path)) == []


def test_a_failed_diff_is_never_taken_for_a_safe_one() -> None:
    with pytest.raises(Problem, match="does not end as `cdk diff` ends"):
        losses("Stack Shop\nfetch failed: ExpiredToken")


DIFF = """Stack Shop
Resources
[~] AWS::S3::Bucket Named Named1234 may be replaced

✨  Number of stacks with differences: 1
"""


def test_the_command_stops_until_the_loss_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cdk.diff"
    path.write_text(DIFF)
    assert run(["review", str(path)]) == 1
    assert "--allow-replacement" in capsys.readouterr().err
    assert run(["review", str(path), "--allow-replacement"]) == 0
    assert "may be replaced: AWS::S3::Bucket Named in Shop" in capsys.readouterr().out
    assert run(["review", str(path), "--json", "--allow-replacement"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"stack": "Shop", "resource": "Named", "type": "AWS::S3::Bucket", "verdict": "may be replaced"}
    ]


def test_an_unreadable_diff_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["review", str(tmp_path / "absent.diff")]) == 2
    assert "cannot be read" in capsys.readouterr().err
