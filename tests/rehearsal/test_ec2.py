"""Training on EC2 spot through the command line: interrupted by spot, continued, registered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.environment import processing
from tests.contract.jobs import ROLE, until
from tests.contract.machines import DATA, MODELS, NAME, SPLITS, fill_account, interrupt, log_of, state

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(600)]
EPOCHS = 1000
PARAMETERS = {
    "AccuracyThreshold": 0, "Backbone": "small", "Epochs": 5, "Seed": 1, "Strategy": "head", "Views": 1,
    "Weights": "none",
}  # fmt: skip
PACKAGE = {
    "ModelPackageGroupName": NAME,
    "ModelApprovalStatus": "PendingManualApproval",
    "InferenceSpecification": {
        "Containers": [{"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/bins:1", "ModelDataUrl": "s3://a/b"}],
        "SupportedContentTypes": ["image/jpeg"],
        "SupportedResponseMIMETypes": ["application/json"],
    },
}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    with LocalAws(tmp_path_factory.mktemp("aws"), time_scale=0.3) as started:
        yield started
    os.environ.pop("OMP_NUM_THREADS")
    if before is not None:
        os.environ["OMP_NUM_THREADS"] = before
    assert started.processes() == []


@pytest.fixture(scope="module")
def client(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> ClientFactory:
    """An account with an execution that has ingested; its definition registers, as the deployed one does."""
    made = connect(aws)
    fill_account(made, tmp_path_factory.mktemp("shards"))
    ingest = processing("Ingest", "true")
    ingest["Arguments"]["ProcessingOutputConfig"] = {
        "Outputs": [_output(split, f"s3://{DATA}/executions/first/ingest/{split}") for split in SPLITS]
    }
    register = {"Name": "Register", "Type": "RegisterModel", "Arguments": PACKAGE}
    never = {"Type": "Equals", "LeftValue": 1, "RightValue": 2}
    gate = {
        "Name": "Gate", "Type": "Condition",
        "Arguments": {"Conditions": [never], "IfSteps": [register], "ElseSteps": []}, "DependsOn": ["Ingest"],
    }  # fmt: skip
    parameters = [
        {"Name": name, "Type": "String" if isinstance(value, str) else "Float", "DefaultValue": value}
        for name, value in PARAMETERS.items()
    ]
    sagemaker = made("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=NAME)
    sagemaker.create_pipeline(
        PipelineName=NAME,
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Parameters": parameters, "Steps": [ingest, gate]}),
        RoleArn=ROLE,
        ClientRequestToken="t" * 32,
    )
    arn = sagemaker.start_pipeline_execution(PipelineName=NAME)["PipelineExecutionArn"]
    describe = sagemaker.describe_pipeline_execution
    until(lambda: describe(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Succeeded")
    return made


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch, aws: LocalAws, client: ClientFactory) -> None:
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)


def _output(name: str, uri: str) -> dict[str, Any]:
    target = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": target}


def train(*flags: str) -> int:
    return run(["train", "--on", "ec2", *flags])


def test_spot_takes_the_machine_another_finishes_and_the_model_waits_for_approval(
    aws: LocalAws, client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ("--set", f"Epochs={EPOCHS}", "--set", "LearningRate=0.02", "--set", "BatchSize=16")
    assert train(*values) == Exit.USAGE  # nobody was asked, so nothing was started
    assert "--yes" in capsys.readouterr().err
    assert client("ec2").describe_instances()["Reservations"] == []

    assert train(*values, "--yes", "--detach", "--json") == Exit.OK
    started = json.loads(capsys.readouterr().out)
    run_id, first = started["run"], started["machine"]
    assert 0 < started["launch"]["expected"] < started["launch"]["worst"]
    until(lambda: "epoch=3 " in log_of(aws, first), seconds=120)
    assert train("--resume", run_id, "--yes") == Exit.USAGE
    assert "still at work" in capsys.readouterr().err

    interrupt(aws, first)
    assert train("--watch", run_id) == Exit.FAILED
    said = capsys.readouterr().err
    assert "reclaimed at train" in said
    assert f"binventory train --on ec2 --resume {run_id}" in said
    assert state(client, first) == "terminated"

    assert train("--resume", run_id, "--yes", "--json") == Exit.OK
    found = json.loads(capsys.readouterr().out)
    log = next(log_of(aws, machine) for machine in _machines(client) if machine != first)
    assert "parts=0" in log  # nothing was embedded twice
    assert "epoch=3 " not in log  # nor was an epoch trained twice
    package = client("sagemaker").describe_model_package(ModelPackageName=found["model_package"])
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"]["training_job"] == run_id
    archive = package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
    assert archive == f"s3://{MODELS}/executions/{run_id}/serving/model.tar.gz"
    client("s3").head_object(Bucket=MODELS, Key=archive.removeprefix(f"s3://{MODELS}/"))
    # Looked at again, it is not registered again.
    assert train("--watch", run_id, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["model_package"] == found["model_package"]


def _machines(client: ClientFactory) -> list[str]:
    reservations = client("ec2").describe_instances()["Reservations"]
    return [item["InstanceId"] for reservation in reservations for item in reservation["Instances"]]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--set", "TuningJobs=3"), "--set TuningJobs has no effect on EC2"),
        (("--photos", "s3://bins/"), "--photos and --labels are not for --on ec2"),
        (("--resume", "ec2-x", "--set", "Epochs=1"), "--set and --resume do not go together"),
        (("--resume", "ec2-nobody"), "There is no run ec2-nobody"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    before = _machines(client)
    assert train(*flags, "--yes") == Exit.USAGE
    assert said in capsys.readouterr().err
    assert _machines(client) == before


def test_without_the_stack_three_lines_say_how_to_get_it(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--on", "ec2", "--env", "prod", "--yes"]) == Exit.NOT_READY
    assert "binventory-prod-storage is not deployed" in capsys.readouterr().err


def test_the_flags_of_ec2_need_on_ec2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--resume", "ec2-x", "--yes"]) == Exit.USAGE
    assert "--resume and --watch are for --on ec2" in capsys.readouterr().err
