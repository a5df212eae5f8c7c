"""A training that is reclaimed too often continues on demand: deployed, with each role's own permissions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.server import LocalAws
from tests.contract.jobs import until
from tests.rehearsal.kept import binventory, client

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]
NAME = "binventory-dev"
# One trial, and epochs enough for a reclaim in the middle of the training.
PARAMETERS = {"Epochs": "600", "TuningJobs": "1", "TuningParallelJobs": "1"}


@pytest.fixture(scope="module")
def deployed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Everything deployed with the setting on, and one execution done, whose shards and features are taken again."""
    state = tmp_path_factory.mktemp("kept")
    arguments = ("rehearse", "--keep", "--enforce-iam", "--json", "--photos-count", "120", "--state-dir", str(state))
    settings = {
        "BINVENTORY_TRAINING__ON_DEMAND_AFTER_RECLAIMS": "1",
        # At the largest rates so many epochs on so few photos diverge, and a trial whose loss is no number fails.
        "BINVENTORY_TUNING__LEARNING_RATE_MAX": "0.01",
    }
    yield json.loads(binventory(repository, *arguments, environment=settings))
    assert "no process" in binventory(repository, "rehearse", "--end", str(state))


def test_a_reclaimed_training_goes_on_on_demand(deployed: dict[str, Any]) -> None:
    sagemaker = client(deployed, "sagemaker")
    first = sagemaker.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"][0]
    given = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=first["PipelineExecutionArn"])
    values = {item["Name"]: item["Value"] for item in given["PipelineParameters"]} | PARAMETERS
    execution = sagemaker.start_pipeline_execution(
        PipelineName=NAME, PipelineParameters=[{"Name": name, "Value": value} for name, value in values.items()]
    )["PipelineExecutionArn"]

    def steps(arn: str) -> dict[str, Any]:
        listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
        return {step["StepName"]: step for step in listed}

    def status(of: str) -> str:
        described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=of)["PipelineExecutionStatus"]
        return "" if described in {"Executing", "Stopping"} else str(described)

    def job_of(arn: str) -> str:
        metadata = steps(arn).get("Train", {}).get("Metadata", {})
        return str(metadata["TrainingJob"]["Arn"].rsplit("/", 1)[-1]) if metadata else ""

    def lines(job: str) -> list[str]:
        logs, group = client(deployed, "logs"), "/aws/sagemaker/TrainingJobs"
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
        return [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    job = until(lambda: job_of(execution) or status(execution), seconds=600)
    assert job != "Failed", steps(execution)
    # The second epoch's line: the checkpoint of the first is written by then.
    until(lambda: any(line.startswith("epoch=1 ") for line in lines(job)), seconds=120)
    port = int(deployed["kept"]["AWS_ENDPOINT_URL"].rpartition(":")[2])
    LocalAws(Path(deployed["state_dir"]) / "aws", port).administer("sagemaker/reclaim", {"TrainingJobName": job})

    def continued() -> str:
        found = sagemaker.list_pipeline_executions(PipelineName=f"{NAME}-on-demand-train")
        return "".join(item["PipelineExecutionArn"] for item in found["PipelineExecutionSummaries"])

    arn = until(continued, seconds=120)

    assert until(lambda: status(execution), seconds=120) == "Stopped"
    assert until(lambda: status(arn), seconds=600) == "Succeeded", steps(arn)
    assert list(steps(arn)) and {"Ingest", "Embed", "Tune"}.isdisjoint(steps(arn)), "what was done is not done again"
    described = sagemaker.describe_training_job(TrainingJobName=job_of(arn))
    assert described["EnableManagedSpotTraining"] is False
    before = sagemaker.describe_training_job(TrainingJobName=job)["HyperParameters"]
    same = ("lr", "batch-size", "epochs", "seed")
    assert {name: described["HyperParameters"][name] for name in same} == {name: before[name] for name in same}
    assert any(line.startswith("resumed at epoch=") for line in lines(job_of(arn))), "from the checkpoint of spot"
    packages = sagemaker.list_model_packages(ModelPackageGroupName=NAME, SortOrder="Descending")[
        "ModelPackageSummaryList"
    ]
    newest = sagemaker.describe_model_package(ModelPackageName=packages[0]["ModelPackageArn"])
    assert newest["CustomerMetadataProperties"]["pipeline_execution"] == arn
