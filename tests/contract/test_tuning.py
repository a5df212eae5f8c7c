"""Tuning jobs through boto3: trials really run, and the best one is really the best."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, ROLE, archive_members, source, until

BOWL = """
    import json, os, pathlib, sys
    hp = json.loads(os.environ["SM_HPS"])
    loss = (hp["x"] - 0.3) ** 2 + (0.0 if hp["shape"] == "round" else 1.0)
    seen = {"arguments": sys.argv[1:], "threads": os.environ["OMP_NUM_THREADS"]}
    pathlib.Path(os.environ["SM_MODEL_DIR"], "seen.json").write_text(json.dumps(seen))
    if hp["x"] > hp.get("limit", 2):
        raise ValueError("too far")
    print(f"validation:loss={loss:.6f}")
"""
RANGES = {
    "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}],
    "CategoricalParameterRanges": [{"Name": "shape", "Values": ["round", "flat"]}],
}


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def tuning_request(client: ClientFactory, name: str, script: str = BOWL, **config: Any) -> dict[str, Any]:
    """A CreateHyperParameterTuningJob request for `script`; `config` replaces members of the configuration."""
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": RANGES,
            "RandomSeed": 1,
        }
        | config,
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "validation:loss", "Regex": "validation:loss=([0-9.eE+-]+)"}],
            },
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/trials"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
            "EnableManagedSpotTraining": True,
            "StaticHyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": source(client, name, script),
            },
        },
    }


def finished(client: ClientFactory, name: str) -> dict[str, Any]:
    def described() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return job if job["HyperParameterTuningJobStatus"] not in {"InProgress", "Stopping"} else None

    job: dict[str, Any] = until(described)
    return job


def trials_of(client: ClientFactory, name: str, **request: Any) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = client("sagemaker").list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, **request
    )["TrainingJobSummaries"]
    return trials


def test_trials_run_and_the_best_one_is_named(client: ClientFactory) -> None:
    client("sagemaker").create_hyper_parameter_tuning_job(**tuning_request(client, "bowl"))
    job = finished(client, "bowl")
    assert job["HyperParameterTuningJobStatus"] == "Completed", job.get("FailureReason")
    assert job["TrainingJobStatusCounters"]["Completed"] == 3
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    trials = trials_of(client, "bowl", SortBy="FinalObjectiveMetricValue", SortOrder="Ascending")
    values = [trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in trials]
    assert values == sorted(values)
    best = job["BestTrainingJob"]
    assert best["TrainingJobName"] == trials[0]["TrainingJobName"]
    for trial in trials:
        x, shape = float(trial["TunedHyperParameters"]["x"]), trial["TunedHyperParameters"]["shape"]
        expected = (x - 0.3) ** 2 + (0.0 if shape == "round" else 1.0)
        assert trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(expected, abs=1e-5)
    described = client("sagemaker").describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert described["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert described["EnableManagedSpotTraining"]
    seen = json.loads(archive_members(client, described["ModelArtifacts"]["S3ModelArtifacts"])["seen.json"])
    assert seen["arguments"] == ["--shape", best["TunedHyperParameters"]["shape"], "-x", seen["arguments"][3]]
    assert float(seen["arguments"][3]) == float(best["TunedHyperParameters"]["x"])
    listed = client("sagemaker").list_hyper_parameter_tuning_jobs(NameContains="bowl", StatusEquals="Completed")
    assert [job["HyperParameterTuningJobName"] for job in listed["HyperParameterTuningJobSummaries"]] == ["bowl"]
    with pytest.raises(ClientError, match="ResourceInUse"):
        client("sagemaker").create_hyper_parameter_tuning_job(**tuning_request(client, "bowl"))
    with pytest.raises(ClientError, match="ResourceNotFound"):
        finished(client, "nobody")


def test_failing_trials_are_counted_and_when_all_fail_so_does_the_job(client: ClientFactory) -> None:
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2}
    request = tuning_request(client, "hopeless", ResourceLimits=limits)
    request["TrainingJobDefinition"]["StaticHyperParameters"]["limit"] = "-1"
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished(client, "hopeless")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2
    assert "BestTrainingJob" not in job
    assert all("too far" in trial["FailureReason"] for trial in trials_of(client, "hopeless"))


def test_reaching_the_target_ends_the_search_and_seeds_repeat_it(client: ClientFactory) -> None:
    request = tuning_request(
        client,
        "target",
        ResourceLimits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 3.0},
    )
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    job = finished(client, "target")
    # Its first values are those of any other job with the same seed and ranges.
    [same] = [trial for trial in trials_of(client, "bowl") if "-001-" in trial["TrainingJobName"]]
    assert job["BestTrainingJob"]["TunedHyperParameters"] == same["TunedHyperParameters"]
    assert (job["HyperParameterTuningJobStatus"], job["TrainingJobStatusCounters"]["Completed"]) == ("Completed", 1)


def test_stopping_stops_the_trials(client: ClientFactory) -> None:
    client("sagemaker").create_hyper_parameter_tuning_job(
        **tuning_request(client, "stopped", script="import time; time.sleep(60)")
    )
    until(lambda: len(trials_of(client, "stopped", StatusEquals="InProgress")) == 2)
    client("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="stopped")
    assert finished(client, "stopped")["HyperParameterTuningJobStatus"] == "Stopped"
    assert {trial["TrainingJobStatus"] for trial in trials_of(client, "stopped")} == {"Stopped"}
    with pytest.raises(ClientError, match="ValidationException"):
        client("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="stopped")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 2}}, "must not be greater than"),
        ({"ParameterRanges": {}}, "At least one parameter range"),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "luck"}},
            "is not among the MetricDefinitions",
        ),
        (
            {"ParameterRanges": {"IntegerParameterRanges": [{"Name": "n", "MinValue": "9", "MaxValue": "1"}]}},
            "MinValue 9 must not be greater than MaxValue 1",
        ),
        (
            {"ParameterRanges": {"ContinuousParameterRanges": [{"Name": "n", "MinValue": "a", "MaxValue": "1"}]}},
            "must be numbers",
        ),
        (
            {
                "ParameterRanges": {
                    "ContinuousParameterRanges": [
                        {"Name": "n", "MinValue": "0", "MaxValue": "1", "ScalingType": "Logarithmic"}
                    ]
                }
            },
            "logarithmic scaling needs MinValue > 0",
        ),
        (
            {
                "ParameterRanges": {
                    "CategoricalParameterRanges": [{"Name": "sagemaker_program", "Values": ["a.py", "b.py"]}]
                }
            },
            "given once",
        ),
        ({"Strategy": "Grid"}, "categorical parameter ranges only"),
        ({"Strategy": "Hyperband"}, "NotImplemented"),
    ],
)
def test_what_makes_no_sense_is_refused(client: ClientFactory, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words):
        client("sagemaker").create_hyper_parameter_tuning_job(**tuning_request(client, "refused", **config))
