"""Other ways to search, in the whole pipeline: Hyperband stops trials, and a warm start continues their search."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.jobs import until
from tests.rehearsal.kept import binventory, cdk, client

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1200)]
HYPERBAND = {
    "BINVENTORY_TRAINING__BACKBONE": "resnet18",
    "BINVENTORY_TUNING__STRATEGY": "Hyperband",
    "BINVENTORY_TUNING__EARLY_STOPPING": "Off",
    "BINVENTORY_TUNING__HYPERBAND_MIN_EPOCHS": "4",
}


@pytest.fixture(scope="module")
def searched(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A rehearsal that searched with Hyperband and stays up."""
    state = tmp_path_factory.mktemp("searched")
    arguments = ("rehearse", "--keep", "--json", "--photos-count", "120", "--state-dir", str(state))
    yield json.loads(binventory(repository, *arguments, environment=HYPERBAND))
    binventory(repository, "rehearse", "--end", str(state))


def tuning_jobs(searched: dict[str, Any]) -> list[dict[str, Any]]:
    """Every search so far, the first one first."""
    sagemaker = client(searched, "sagemaker")
    found = sagemaker.list_hyper_parameter_tuning_jobs(SortBy="CreationTime", SortOrder="Ascending")
    names = [job["HyperParameterTuningJobName"] for job in found["HyperParameterTuningJobSummaries"]]
    return [sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name) for name in names]


def test_hyperband_stops_trials_and_the_best_one_becomes_the_model(searched: dict[str, Any]) -> None:
    (job,) = tuning_jobs(searched)
    config = job["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Hyperband"
    assert config["StrategyConfig"]["HyperbandStrategyConfig"] == {"MinResource": 4, "MaxResource": 40}, (
        "epochs of a rehearsal"
    )
    listed = client(searched, "sagemaker").list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=job["HyperParameterTuningJobName"]
    )["TrainingJobSummaries"]
    ended = Counter(trial["TrainingJobStatus"] for trial in listed)
    assert ended["Stopped"] and ended["Completed"], ended
    assert ended["Stopped"] + ended["Completed"] == len(listed) == len(searched["trials"])
    best = min(trial["objective"] for trial in searched["trials"] if trial["objective"] is not None)
    found = job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert found == pytest.approx(best, rel=1e-4)
    assert searched["counted"], "the model of the best trial's values serves"


def test_a_warm_start_learns_from_the_search_before(searched: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    (parent,) = [job["HyperParameterTuningJobName"] for job in tuning_jobs(searched)]
    warm = {"type": "IdenticalDataAndAlgorithm", "parents": [parent]}
    environment = {
        "BINVENTORY_TRAINING__BACKBONE": "resnet18",
        "BINVENTORY_TUNING__WARM_START": json.dumps(warm),
        **searched["kept"],
    }
    deploy = ("deploy", "Training", "--exclusively", "--require-approval", "never")
    cdk(repository, *deploy, assembly=tmp_path, environment=environment)
    execution = client(searched, "sagemaker").list_pipeline_executions(PipelineName="binventory-dev")
    arn = execution["PipelineExecutionSummaries"][0]["PipelineExecutionArn"]
    said = client(searched, "sagemaker").list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)
    asked = [f"{item['Name']}={item['Value']}" for item in said["PipelineParameters"]] + ["TuningJobs=2"]
    flags = [part for value in asked for part in ("--set", value)]
    # Whether the model is better than the one that serves is another question.
    binventory(repository, "train", "--yes", "--detach", *flags, environment=environment)
    warmed = until(
        lambda: next(
            (job for job in tuning_jobs(searched)[1:] if job["HyperParameterTuningJobStatus"] == "Completed"), None
        ),
        seconds=300,
    )
    assert warmed["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [{"HyperParameterTuningJobName": parent}]
    objectives = [
        float(job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
        for job in tuning_jobs(searched)
    ]
    overall = warmed["OverallBestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert overall == pytest.approx(min(objectives))
