"""`binventory spent`: billed seconds, spot savings and sizes from an execution's jobs and their metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from binventory.cli import run
from binventory.core.aws import Aws
from binventory.core.errors import Exit
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.environment import PIPELINE, define, processing
from tests.contract.jobs import BUCKET, training_request

pytestmark = pytest.mark.usefixtures("signed_in")

ALLOWED = ["ml.m5.large", "ml.m5.xlarge", "ml.m5.4xlarge"]


@pytest.fixture(scope="module")
def execution(client: ClientFactory, local_aws: LocalAws) -> Iterator[str]:
    """An execution with a processing job on demand and a training job on spot, each of a few seconds."""
    client("s3").create_bucket(Bucket=BUCKET)
    ingest = processing("Ingest", "sleep 3")
    resources = {"InstanceType": {"Get": "Parameters.Machine"}, "InstanceCount": 1, "VolumeSizeInGB": 1}
    train = training_request(
        client,
        "spent",
        "import time; time.sleep(3)",
        EnableManagedSpotTraining=True,
        ResourceConfig=resources,
        StoppingCondition={"MaxRuntimeInSeconds": 120, "MaxWaitTimeInSeconds": 200},
    )
    del train["TrainingJobName"]
    machine = {"Name": "Machine", "Type": "String", "DefaultValue": "ml.m5.4xlarge", "EnumValues": ALLOWED}
    define(client, ingest, {"Name": "Train", "Type": "Training", "Arguments": train}, parameters=[machine])
    with pytest.MonkeyPatch.context() as patched:
        for name, value in local_aws.environment().items():
            patched.setenv(name, value)
        assert run(["train", "--yes"]) == Exit.OK
    listed = client("sagemaker").list_pipeline_executions(PipelineName=PIPELINE)
    yield listed["PipelineExecutionSummaries"][0]["PipelineExecutionArn"]


def training_job_of(client: ClientFactory, execution: str) -> str:
    steps = client("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=execution)["PipelineExecutionSteps"]
    (arn,) = [step["Metadata"]["TrainingJob"]["Arn"] for step in steps if step["StepName"] == "Train"]
    return str(arn.rsplit("/", 1)[-1])


def test_the_bill_of_an_execution(execution: str, client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spent", execution, "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    ingest, train = sorted(said["steps"], key=lambda step: str(step["step"]))
    job = client("sagemaker").describe_training_job(TrainingJobName=training_job_of(client, execution))
    volume = 0.14 / 730
    assert train["dollars"] == pytest.approx((0.922 + volume) * job["BillableTimeInSeconds"] / 3600)
    assert train["on_demand"] == pytest.approx((0.922 + volume) * job["TrainingTimeInSeconds"] / 3600)
    assert ingest["on_demand"] == ingest["dollars"] > 0
    assert said["saved"] == pytest.approx(train["on_demand"] - train["dollars"])
    assert said["dollars"] == pytest.approx(train["dollars"] + ingest["dollars"])
    assert train["advice"]["better"] == "ml.m5.large", "three seconds of sleep need no sixteen vCPUs"
    assert train["knob"] == "Machine"


def test_the_table_and_the_summary_say_the_same(execution: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spent", execution.rsplit("/", 1)[-1]]) == Exit.OK
    table = " ".join(capsys.readouterr().out.split())
    assert "vCPU used: ml.m5.large would do, saving 88%" in table
    assert "To take these sizes: binventory train --set Machine=ml.m5.large" in table
    assert "replaces every instance" in table
    assert run(["spent", "--markdown"]) == Exit.OK
    summary = capsys.readouterr().out
    assert "| Train | 1 x ml.m5.4xlarge, spot | 1 |" in summary
    assert "ml.m5.large would do" in summary


def test_jobs_that_were_repeated_are_said_to_be_in_no_figure(
    execution: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step names its last job only; those that failed in SageMaker before it have billed as well."""
    original = Aws.client

    def repeated(parsed: Any, **_: Any) -> None:
        for step in parsed["PipelineExecutionSteps"]:
            step["AttemptCount"] = 3 if step["StepName"] == "Train" else 1

    def client_of(aws: Aws, name: str) -> Any:
        found: Any = original(aws, name)
        found.meta.events.register("after-call.sagemaker.ListPipelineExecutionSteps", repeated)
        return found

    monkeypatch.setattr(Aws, "client", client_of)
    assert run(["spent", execution, "--json"]) == Exit.OK
    (said,) = [note for note in json.loads(capsys.readouterr().out)["notes"] if "was tried" in note]
    assert said.startswith("Train was tried 3 times: SageMaker shows the last job only")


def test_an_unknown_execution_is_reported(execution: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spent", "nosuchthing"]) == Exit.USAGE
    assert execution.rsplit("/", 1)[-1] in capsys.readouterr().err, "the newest one is named"


def test_without_the_right_to_metrics_the_bill_is_printed_all_the_same(
    execution: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    denied: Any = boto3.client("cloudwatch", region_name="us-east-1")
    original = Aws.client
    with Stubber(denied) as stub:
        stub.add_client_error("get_metric_data", "AccessDenied", http_status_code=403)
        monkeypatch.setattr(Aws, "client", lambda aws, name: denied if name == "cloudwatch" else original(aws, name))
        assert run(["spent", execution, "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["dollars"] > 0
    assert all(step["advice"] is None for step in said["steps"])
    assert any("GetMetricData" in note for note in said["notes"])


@pytest.mark.parametrize("status", ["InternalError", "PartialData", "Forbidden"])
def test_metrics_that_cloudwatch_gave_in_part_are_no_idle_machine(
    execution: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    metrics: Any = boto3.client("cloudwatch", region_name="us-east-1")
    original = Aws.client
    with Stubber(metrics) as stub:
        some = [{"Id": "q0", "Values": [1.0], "StatusCode": "PartialData"}]
        stub.add_response("get_metric_data", {"MetricDataResults": some, "NextToken": "more"})
        rest = [{"Id": "q0", "Values": [], "StatusCode": "Complete"}, {"Id": "q1", "Values": [], "StatusCode": status}]
        stub.add_response("get_metric_data", {"MetricDataResults": rest})
        monkeypatch.setattr(Aws, "client", lambda aws, name: metrics if name == "cloudwatch" else original(aws, name))
        assert run(["spent", execution, "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["dollars"] > 0 and all(step["advice"] is None for step in said["steps"])
    assert f"CloudWatch did not give all metrics ({status}), so no size is advised: ask again." in said["notes"]


def package_of(client: ClientFactory, **properties: str) -> str:
    """A model package of the environment's group with these properties."""
    sagemaker = client("sagemaker")
    groups = sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    if PIPELINE not in {group["ModelPackageGroupName"] for group in groups}:
        sagemaker.create_model_package_group(ModelPackageGroupName=PIPELINE)
    container = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/count:1", "ModelDataUrl": "s3://b/m.tar.gz"}
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName=PIPELINE,
        InferenceSpecification={"Containers": [container]},
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties=properties,
    )["ModelPackageArn"]
    return arn


def test_an_approved_model_carries_what_it_cost_to_make(
    execution: str, client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    job = training_job_of(client, execution)
    arn = package_of(client, pipeline_execution=execution, training_job=job, code="abc")
    for flags in (["--no-wait"], []):
        assert run(["approve", arn, *flags, "--yes", "--json"]) == Exit.OK
        assert json.loads(capsys.readouterr().out) == {"model_package": arn, "endpoint": None}
    assert run(["approve", arn]) == Exit.OK
    assert "Nothing serves it: there is no stack" in capsys.readouterr().out
    kept = client("sagemaker").describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"]
    capsys.readouterr()
    assert run(["spent", execution, "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert kept["cost_usd"] == f"{said['dollars']:.4f}"
    assert kept["cost_saved_by_spot_usd"] == f"{said['saved']:.4f}"
    assert kept["cost_prices"].startswith("us-east-1 20")
    assert kept["code"] == "abc", "what it carried stays"


@pytest.mark.parametrize(("gone", "job"), [("gone", "job"), ("", "ec2-20261129-120000-ab12")])
def test_a_model_of_unknown_price_is_approved_all_the_same(
    execution: str, client: ClientFactory, gone: str, job: str
) -> None:
    """Its execution is gone, or a machine on EC2 trained it on the shards of one."""
    package = package_of(client, pipeline_execution=execution + gone, training_job=job)
    assert run(["approve", package, "--no-wait", "--yes"]) == Exit.OK
    described = client("sagemaker").describe_model_package(ModelPackageName=package)
    assert described["ModelApprovalStatus"] == "Approved"
    assert "cost_usd" not in described["CustomerMetadataProperties"]
