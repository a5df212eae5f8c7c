"""The deployed guards: an approval turns the endpoint on; a spent budget or a quiet minute turns it off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from binventory.render import render_bucket
from local_aws.server import LocalAws
from tests.contract.jobs import until
from tests.contract.serving import ask, push_image, put_artefact
from tests.rehearsal.deployed import NAME, Deployed

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
# Settings of this rehearsal: 36 seconds without a call are idle, and the guard looks every minute.
SETTINGS = {"BINVENTORY_MONEY__IDLE_HOURS": "0.01", "BINVENTORY_MONEY__MONTHLY_BUDGET_USD": "10"}


@pytest.fixture(scope="module")
def deployed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Everything deployed, and destroyed afterwards."""
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as aws:
        deployed = Deployed(aws, repository, SETTINGS)
        deployed.cdk("bootstrap")
        deployed.cdk("deploy", "--all", "--require-approval", "never")
        yield deployed
        deployed.cdk("destroy", "--all", "--force")


def _fill_bucket(deployed: Deployed, folder: Path) -> None:
    """A few hundred photos."""
    s3 = deployed.client("s3")
    s3.create_bucket(Bucket="photos")
    for path in (path for path in render_bucket(folder, photos=400).folder.rglob("*") if path.is_file()):
        s3.upload_file(str(path), "photos", path.relative_to(folder).as_posix())


def _start_execution(deployed: Deployed) -> str:
    """An execution that is at work."""
    parameters = [{"Name": "PhotosUri", "Value": "s3://photos/"}, {"Name": "Weights", "Value": "none"}]
    started = deployed.client("sagemaker").start_pipeline_execution(PipelineName=NAME, PipelineParameters=parameters)
    arn = str(started["PipelineExecutionArn"])
    list_steps = deployed.client("sagemaker").list_pipeline_execution_steps
    until(lambda: list_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"])
    assert _status(deployed, arn) == "Executing"
    return arn


def _status(deployed: Deployed, execution: str) -> str:
    found = deployed.client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)
    return str(found["PipelineExecutionStatus"])


def test_an_approval_a_spent_budget_and_a_quiet_minute(deployed: Deployed, tmp_path: Path) -> None:
    client = deployed.client
    _fill_bucket(deployed, tmp_path)
    image = push_image(deployed.aws, client)
    package = client("sagemaker").create_model_package(
        ModelPackageGroupName=NAME,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": put_artefact(client, "first")}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    assert deployed.endpoint() == "absent"
    client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    deployed.wait("InService", 60)
    assert deployed.stack()[1]["ModelPackageArn"] == package
    assert ask(client, NAME)

    deployed.spend(9)  # 90%: an alert, and no action
    time.sleep(3)
    assert deployed.endpoint() == "InService"
    execution = _start_execution(deployed)
    deployed.spend(12)
    deployed.wait("absent", 60)
    assert deployed.stack()[1]["EndpointState"] == "off"
    until(lambda: _status(deployed, execution) == "Stopped")
    events = client("cloudformation").describe_stack_events(StackName=f"{NAME}-serving")["StackEvents"]
    turned_off = next(event for event in events if event["ResourceStatus"] == "UPDATE_IN_PROGRESS")
    stopped = client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)["LastModifiedTime"]
    assert turned_off["Timestamp"] <= stopped
    jobs = client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"]
    assert "InProgress" not in {job["ProcessingJobStatus"] for job in jobs}

    deployed.spend(0)
    client("lambda").invoke(FunctionName=f"{NAME}-reconcile", Payload=b'{"endpoint": "on"}')
    deployed.wait("InService", 60)
    assert deployed.stack()[1]["ModelPackageArn"] == package  # the same model comes back
    deployed.wait("absent", 240)  # nobody calls, the schedule fires
    assert deployed.stack()[1] | {"EndpointState": "off"} == deployed.stack()[1]
    ringing = client("cloudwatch").describe_alarms(StateValue="ALARM")["MetricAlarms"]
    of_endpoint = [alarm for alarm in ringing if "EndpointName" in {item["Name"] for item in alarm["Dimensions"]}]
    assert of_endpoint == []  # what is turned off on purpose alarms nobody
    assert client("sagemaker").list_endpoint_configs()["EndpointConfigs"] == []
    assert client("sagemaker").list_models()["Models"] == []
