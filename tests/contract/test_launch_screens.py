"""Launch screens: show the price, ask, need --yes without a terminal, then show the cost so far."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.cost import prices
from tests.contract.conftest import UPDATE_ROLE, ClientFactory
from tests.contract.environment import PIPELINE, define, processing
from tests.contract.jobs import ROLE
from tests.stacks.served import deploy_function

pytestmark = pytest.mark.usefixtures("signed_in")

SERVING = "binventory-dev-serving"
HOUR = 0.115 + 10 * 0.14 / 730


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def pipeline(client: ClientFactory) -> None:
    """A pipeline of one job, whose instance type is a parameter."""
    step = processing("Ingest", "sleep 1")
    cluster = {"InstanceType": {"Get": "Parameters.Machine"}, "InstanceCount": 2, "VolumeSizeInGB": 10}
    step["Arguments"]["ProcessingResources"] = {"ClusterConfig": cluster}
    step["Arguments"]["StoppingCondition"] = {"MaxRuntimeInSeconds": 1800}
    machine = {"Name": "Machine", "Type": "String", "DefaultValue": "ml.m5.large"}
    define(client, step, parameters=[machine])


@pytest.fixture(scope="module")
def serving_stack(client: ClientFactory) -> None:
    """The serving stack's parameters and endpoint, in a template whose condition keeps the endpoint away.

    Beside it the function that switches it.
    """
    client("s3").create_bucket(Bucket="memory")
    variables = {
        "ACCOUNT": "123456789012",
        "ALERTS_TOPIC": client("sns").create_topic(Name="alerts")["TopicArn"],
        "BUDGET": "none",
        "ENDPOINT": PIPELINE,
        "GUARD_PERCENT": "0",
        "IDLE_SECONDS": "0",
        "MEMORY_BUCKET": "memory",
        "MODEL_PACKAGE_GROUP": PIPELINE,
        "PIPELINES": PIPELINE,
        "SERVING_STACK": SERVING,
        "UPDATE_ROLE": UPDATE_ROLE,
        "VARIANT": "primary",
    }
    deploy_function(client, f"{PIPELINE}-reconcile", "reconcile", variables)
    parameters: dict[str, Any] = {
        "ModelPackageArn": {"Type": "String", "Default": "arn:aws:sagemaker:us-east-1:123456789012:model-package/x/1"},
        "EndpointState": {"Type": "String", "Default": "off", "AllowedValues": ["on", "off"]},
    }
    variant = {"VariantName": "primary", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
    resources = {
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Condition": "Never",
            "Properties": {"ProductionVariants": [variant]},
        },
        "Log": {"Type": "AWS::Logs::LogGroup"},
    }
    template = {
        "Parameters": parameters,
        "Conditions": {"Never": {"Fn::Equals": [{"Ref": "EndpointState"}, "never"]}},
        "Resources": resources,
    }
    client("cloudformation").create_stack(StackName=SERVING, TemplateBody=json.dumps(template))
    client("cloudformation").get_waiter("stack_create_complete").wait(
        StackName=SERVING, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )


def executions(client: ClientFactory) -> int:
    return len(client("sagemaker").list_pipeline_executions(PipelineName=PIPELINE)["PipelineExecutionSummaries"])


@pytest.mark.usefixtures("pipeline")
def test_without_a_terminal_training_needs_yes(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    before = executions(client)
    assert run(["train"]) == Exit.USAGE
    captured = capsys.readouterr()
    assert "2 x ml.m5.large, on demand" in captured.out, "the price is shown all the same"
    assert "30 min" in captured.out
    assert f"${2 * HOUR / 2:.2f}" in captured.out, "two machines for the half hour that the limit allows"
    assert "--yes" in captured.err.splitlines()[-1]
    assert executions(client) == before


@pytest.mark.usefixtures("pipeline")
def test_no_is_taken_for_an_answer(
    client: ClientFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = executions(client)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(["train", "--json"]) == Exit.INTERRUPTED
    captured = capsys.readouterr()
    assert captured.out == "", "what people read does not go where JSON goes"
    assert "Nothing was started" in captured.err
    assert executions(client) == before


@pytest.mark.usefixtures("pipeline")
def test_yes_starts_it_and_the_money_so_far_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert run(["train", "--set", "Machine=ml.m5.xlarge"]) == Exit.OK
    said = capsys.readouterr().out
    assert "2 x ml.m5.xlarge" in said, "the parameter's price, not the default's"
    assert "binventory watch" in said
    assert "Money done" in said
    assert run(["watch", "--json"]) == Exit.OK
    spent = json.loads(capsys.readouterr().out)["spent"]
    (step,) = spent["steps"]
    (job,) = step["jobs"]
    assert job["instance_type"] == "ml.m5.xlarge"
    assert job["billable"] >= 1
    hour = 2 * (0.23 + 10 * 0.14 / 730)
    assert spent["dollars"] == pytest.approx(hour * job["billable"] / 3600)
    assert spent["saved"] == 0
    assert not spent["running"]


@pytest.mark.usefixtures("pipeline")
def test_what_may_run_again_on_demand_is_in_the_worst_case(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    step = processing("Embed", "true")
    step["Arguments"]["StoppingCondition"] = {"MaxRuntimeInSeconds": 3600}
    definition = json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [step]})
    name = f"{PIPELINE}-on-demand-embed"
    client("sagemaker").create_pipeline(
        PipelineName=name, PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken="u" * 32
    )
    try:
        assert run(["train"]) == Exit.USAGE
        shown = capsys.readouterr().out
    finally:
        client("sagemaker").delete_pipeline(PipelineName=name)
    (line,) = [line for line in shown.splitlines() if line.startswith("Again")]
    assert "Embed, on demand" in line
    assert f"${0.115 + 0.14 / 730:.2f}" in line, "an hour of one machine"


@pytest.mark.usefixtures("pipeline")
def test_an_unknown_price_is_reported_and_keeps_nobody_from_starting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--yes", "--detach", "--set", "Machine=ml.r5.large"]) == Exit.OK
    said = capsys.readouterr().out
    assert "unknown" in said
    assert "no price for ml.r5.large" in said


@pytest.fixture
def reading(client: ClientFactory) -> Iterator[str]:
    """A pipeline that reads photos, labels and weights, with roles that may read the bucket of its default."""
    s3, iam = client("s3"), client("iam")
    for bucket in ("configured-bins", "other-bins", "granted-bins", "empty-bins"):
        s3.create_bucket(Bucket=bucket)
        if bucket != "empty-bins":
            s3.put_object(Bucket=bucket, Key="bins/bin-images/1.jpg", Body=b"photo")
            s3.put_object(Bucket=bucket, Key="labels.csv", Body=b"image_id,count")
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = iam.create_role(RoleName="reading", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::configured-bins/*"}
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    iam.put_role_policy(RoleName="reading", PolicyName="own", PolicyDocument=json.dumps(policy))
    granted = {**allowed, "Principal": {"AWS": role}, "Resource": "arn:aws:s3:::granted-bins/*"}
    s3.put_bucket_policy(Bucket="granted-bins", Policy=json.dumps({"Version": "2012-10-17", "Statement": [granted]}))
    steps = [processing(name, "true") for name in ("Ingest", "Embed")]
    for step in steps:
        step["Arguments"]["RoleArn"] = role
    defaults = {"PhotosUri": "s3://configured-bins/", "LabelsUri": "none", "Weights": "torchvision"}
    define(
        client,
        *steps,
        parameters=[{"Name": name, "Type": "String", "DefaultValue": value} for name, value in defaults.items()],
    )
    yield role
    iam.delete_role_policy(RoleName="reading", PolicyName="own")
    iam.delete_role(RoleName="reading")


def test_addresses_are_looked_at_before_anything_is_started(reading: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also the right of the jobs' roles to them."""
    cases: dict[tuple[str, str], Exit | str] = {
        ("--photos", "s3://configured-bins/bins/"): Exit.OK,
        ("--photos", "s3://granted-bins/bins/"): Exit.OK,
        ("--photos", "/home/me/bins"): "PhotosUri must be an address",
        ("--photos", "s3://no-such-bucket/bins/"): "there is no bucket no-such-bucket",
        ("--photos", "s3://empty-bins/"): "it lists no photo",
        ("--photos", "s3://other-bins/bins/"): "The jobs may not read PhotosUri s3://other-bins/bins/.\nWhy: the role",
        ("--labels", "s3://configured-bins/labels.csv"): Exit.OK,
        ("--labels", "s3://configured-bins/label"): "there is no such file",
        ("--labels", "s3://other-bins/labels.csv"): "The jobs may not read LabelsUri",
        ("--set", "Weights=s3://configured-bins/no-weights"): "there is no such file",
        ("--set", "Weights=s3://configured-bins/label"): "there is no such file",
    }
    for (flag, value), expected in cases.items():
        where = ["--photos", "s3://configured-bins/bins/"] if flag != "--photos" else []
        code = run(["train", "--dry-run", *where, flag, value])
        said = capsys.readouterr()
        if isinstance(expected, Exit):
            assert code == Exit.OK, said.err
            assert "not known" not in said.out
        else:
            assert code in (Exit.USAGE, Exit.NOT_READY), (value, said.out)
            assert expected in said.err
            assert "nothing was started" in said.err


def test_turning_the_endpoint_on_shows_what_a_month_costs(
    serving_stack: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["endpoint", "on"]) == Exit.USAGE
    captured = capsys.readouterr()
    hour = prices.load("us-east-1").instance_hour("ml.m5.large")
    assert f"${2 * hour * 730:.2f}" in captured.out
    assert f"${2 * hour:.3f} an hour" in captured.out
    assert "endpoint off" not in captured.out, "nothing was started, so nothing has to be ended"
    assert "--yes" in captured.err


def test_a_dry_run_turns_nothing_on(
    client: ClientFactory, serving_stack: None, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("bin.jpg", "a.jpg", "b.jpg"):
        Path(name).touch()
    assert run(["endpoint", "on", "--dry-run", "--yes"]) == Exit.OK
    said = capsys.readouterr().out
    assert "an hour" in said and "Nothing was started" in said
    assert run(["count", "bin.jpg", "--dry-run", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["launch"]["period"] == "a month"
    for photos, said in ((["a.jpg", "a.jpg"], "1 photo"), (["a.jpg", "b.jpg", "a.jpg"], "2 photos")):
        assert run(["count", *photos, "--dry-run", "--json"]) == Exit.OK
        assert json.loads(capsys.readouterr().out)["launch"]["title"].endswith(f"which would count {said}")
    assert run(["count", "a.jpg", "lost.jpg", "https://example.com/c.jpg", "--dry-run"]) == Exit.FAILED
    assert "no such file: lost.jpg" in capsys.readouterr().err
    stack = client("cloudformation").describe_stacks(StackName=SERVING)["Stacks"][0]
    assert {"ParameterKey": "EndpointState", "ParameterValue": "off"} in stack["Parameters"]


def test_turning_it_off_asks_nothing(serving_stack: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["endpoint", "off"]) == Exit.OK
    assert "$" not in capsys.readouterr().out


def test_an_approval_asks_too_because_it_turns_the_endpoint_on(
    client: ClientFactory, serving_stack: None, capsys: pytest.CaptureFixture[str]
) -> None:
    client("sagemaker").create_model_package_group(ModelPackageGroupName=PIPELINE)
    container = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/count:1", "ModelDataUrl": "s3://b/m.tar.gz"}
    arn = client("sagemaker").create_model_package(
        ModelPackageGroupName=PIPELINE,
        InferenceSpecification={"Containers": [container]},
        ModelApprovalStatus="PendingManualApproval",
    )["ModelPackageArn"]
    assert run(["approve", "--no-wait"]) == Exit.USAGE
    assert "a month" in capsys.readouterr().out
    described = client("sagemaker").describe_model_package(ModelPackageName=arn)
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert run(["approve", "--dry-run", "--yes", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["started"] is False
    described = client("sagemaker").describe_model_package(ModelPackageName=arn)
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert run(["approve", "--no-wait", "--yes", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["model_package"] == arn
