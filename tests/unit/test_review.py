"""`binventory review` on the output of the pinned CDK CLI: it names what a deployment would lose, and stops it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker

from binventory.cli import run
from binventory.core.errors import Exit, Problem
from binventory.deployment.review import CONVERTED, REFUSED, Loss, losses, refused

Template = dict[str, Any]


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack `Shop` with two buckets, one of them named."""
    folder = tmp_path_factory.mktemp("assembly")
    app = cdk.App(outdir=str(folder), builtin_cloud_formation_validation=False)
    stack = cdk.Stack(app, "Shop")
    s3.Bucket(stack, "Named", bucket_name="photos-of-bins")
    s3.Bucket(stack, "Plain")
    variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty(
        variant_name="primary", model_name="model", instance_type="ml.c5.xlarge", initial_instance_count=2
    )
    sagemaker.CfnEndpointConfig(stack, "Config", production_variants=[variant])
    autoscaling.CfnScalableTarget(
        stack,
        "Target",
        min_capacity=1,
        max_capacity=3,
        service_namespace="sagemaker",
        scalable_dimension="sagemaker:variant:DesiredInstanceCount",
        resource_id="endpoint/shop/variant/primary",
    )
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


@pytest.fixture(scope="module")
def diff(repository: Path, assembly: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """From a template with another name, two buckets that are gone, a rule that is gone, and other tags."""
    deployed: Template = json.loads((assembly / "Shop.template.json").read_text())
    resources = deployed["Resources"]
    resources[logical_id(deployed, "Named")]["Properties"]["BucketName"] = "another-name"
    for name, policy in (("Destroyed", "Delete"), ("Kept", "Retain")):
        resources[name] = {"Type": "AWS::S3::Bucket", "Properties": {}, "DeletionPolicy": policy}
    resources["Rule"] = {"Type": "AWS::Events::Rule", "Properties": {"ScheduleExpression": "rate(1 day)"}}
    resources[logical_id(deployed, "Plain")]["Properties"] = {"Tags": [{"Key": "a", "Value": "b"}]}
    return cdk_diff(repository, assembly, deployed, tmp_path_factory.mktemp("diff"))


@pytest.mark.parametrize(
    ("name", "verdict"), [("Named", "replace"), ("Destroyed", "destroy"), ("Kept", "orphan")], ids=lambda value: value
)
def test_a_bucket_that_is_renamed_or_removed_is_a_loss(diff: str, name: str, verdict: str) -> None:
    assert Loss("Shop", name, "AWS::S3::Bucket", verdict) in losses(diff)


def test_what_holds_no_state_may_go(diff: str) -> None:
    assert "Rule" in diff and "Plain" in diff
    assert {loss.resource for loss in losses(diff)} == {"Named", "Destroyed", "Kept"}


def test_an_equal_template_loses_nothing(repository: Path, assembly: Path, template: Template, tmp_path: Path) -> None:
    assert losses(cdk_diff(repository, assembly, template, tmp_path)) == []


REFUSAL = Loss("Shop", "Config", "AWS::SageMaker::EndpointConfig", REFUSED)


@pytest.fixture(scope="module")
def retyped(repository: Path, assembly: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of `cdk diff` where the deployed variant has another instance type."""
    deployed: Template = json.loads((assembly / "Shop.template.json").read_text())
    deployed["Resources"]["Config"]["Properties"]["ProductionVariants"][0]["InstanceType"] = "ml.m5.large"
    return cdk_diff(repository, assembly, deployed, tmp_path_factory.mktemp("diff"))


def test_another_instance_type_of_a_scaled_variant_is_refused(
    repository: Path, assembly: Path, template: Template, tmp_path: Path, retyped: str
) -> None:
    assert refused(retyped, {"Shop"}) == refused(retyped, None) == [REFUSAL]
    assert refused(retyped, set()) == [], "it does not scale"
    assert losses(retyped) == []
    before = template["Resources"]["Config"]["Properties"]["ProductionVariants"][0]
    before["InstanceType"] = "ml.m5.large"
    # Without the target before, the update comes first; with it removed now, the update comes first as well.
    target = template["Resources"].pop("Target")
    assert refused(cdk_diff(repository, assembly, template, tmp_path), {"Shop"}) == []
    template["Resources"]["Removed"] = target
    diff = cdk_diff(repository, assembly, template, tmp_path).replace("[+] AWS::ApplicationAutoScaling", "[~] AWS::X")
    assert refused(diff, set()) == [REFUSAL]
    before["InstanceType"] = "ml.c5.xlarge"
    before["InitialInstanceCount"] = 1
    assert refused(cdk_diff(repository, assembly, template, tmp_path), None) == []


def test_the_command_says_how_to_change_the_instance_type(
    assembly: Path, retyped: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cdk.diff"
    path.write_text(retyped)
    assert run(["review", str(path), "--assembly", str(assembly)]) == 1
    assert "binventory endpoint off" in capsys.readouterr().err
    assert run(["review", str(path), "--assembly", str(assembly), "--allow-replacement"]) == 0
    assert f"{REFUSED}: AWS::SageMaker::EndpointConfig Config in Shop" in capsys.readouterr().out


def configured(mode: str, folder: Path) -> Path:
    """An assembly whose stack `Shop` has the configuration of an endpoint in this mode."""
    app = cdk.App(outdir=str(folder), builtin_cloud_formation_validation=False)
    machine: dict[str, Any] = {"instance_type": "ml.c5.xlarge", "initial_instance_count": 1}
    memory = sagemaker.CfnEndpointConfig.ServerlessConfigProperty(max_concurrency=2, memory_size_in_mb=3072)
    served = {"serverless_config": memory} if mode == "serverless" else machine
    answers = sagemaker.CfnEndpointConfig.AsyncInferenceOutputConfigProperty(s3_output_path="s3://answers/")
    queued = sagemaker.CfnEndpointConfig.AsyncInferenceConfigProperty(output_config=answers)
    sagemaker.CfnEndpointConfig(
        cdk.Stack(app, "Shop"),
        "Config",
        production_variants=[
            sagemaker.CfnEndpointConfig.ProductionVariantProperty(variant_name="primary", model_name="m", **served)
        ],
        async_inference_config=queued if mode == "async" else None,
    )
    app.synth()
    return folder


@pytest.mark.parametrize(
    ("before", "after", "stops"),
    [
        ("realtime", "serverless", True),
        ("async", "realtime", True),
        ("realtime", "async", False),
        ("serverless", "realtime", False),
    ],
)
def test_a_way_to_serve_that_an_endpoint_cannot_become_is_refused(
    before: str, after: str, stops: bool, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As AWS, and the local AWS in tests/contract/test_hosting_serverless.py and _async.py, refuse the update."""
    deployed = json.loads((configured(before, tmp_path / "before") / "Shop.template.json").read_text())
    wanted = configured(after, tmp_path / "after")
    diff = tmp_path / "cdk.diff"
    diff.write_text(cdk_diff(repository, wanted, deployed, tmp_path))
    found = [Loss("Shop", "Config", "AWS::SageMaker::EndpointConfig", CONVERTED)] if stops else []
    assert refused(diff.read_text(), set()) == found
    assert run(["review", str(diff), "--assembly", str(wanted)]) == (Exit.FAILED if stops else Exit.OK)
    shown = capsys.readouterr()
    assert ("another serving.mode while the endpoint is on" in shown.err and "endpoint off" in shown.err) is stops
    assert run(["review", str(diff), "--assembly", str(wanted), "--allow-replacement"]) == Exit.OK


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


@pytest.mark.parametrize("piped", [False, True])
def test_a_diff_that_is_no_text_is_wrong_usage(
    piped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cdk.diff"
    path.write_bytes(DIFF.encode("utf-16"))
    with path.open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run(["review", "-" if piped else str(path)]) == Exit.USAGE
    captured = capsys.readouterr()
    what, why, cure = captured.err.splitlines()
    assert captured.out == "" and what == f"{'Standard input' if piped else path} cannot be read."
    assert "can't decode byte" in why and "tee cdk.diff" in cure


def test_a_diff_that_broke_off_after_an_unchanged_stack_is_not_reviewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cdk diff` says of each stack whether it differs, and at its end how many do."""
    broken = "Stack Storage\nThere were no differences\nStack Serving\nAccessDenied: you may not describe it\n"
    (tmp_path / "cdk.diff").write_text(broken)
    assert run(["review", str(tmp_path / "cdk.diff")]) == Exit.FAILED
    assert "cannot be reviewed" in capsys.readouterr().err
    (tmp_path / "cdk.diff").write_text(f"{broken}\n\u2728  Number of stacks with differences: 0\n")
    assert run(["review", str(tmp_path / "cdk.diff")]) == Exit.OK
