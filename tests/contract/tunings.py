"""Helpers for tests of tuning jobs: a request whose trials minimise a quadratic function, and their results."""

from __future__ import annotations

from typing import Any

from tests.contract.jobs import BUCKET, IMAGE, ROLE, ClientFactory, source, until

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
RANGES: dict[str, list[dict[str, Any]]] = {
    "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}],
    "CategoricalParameterRanges": [{"Name": "shape", "Values": ["round", "flat"]}],
}


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


def finished_tuning(client: ClientFactory, name: str) -> dict[str, Any]:
    """The description of a tuning job once it has ended."""

    def described() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return job if job["HyperParameterTuningJobStatus"] not in {"InProgress", "Stopping"} else None

    job: dict[str, Any] = until(described)
    return job


def trials_of(client: ClientFactory, name: str, **request: Any) -> list[dict[str, Any]]:
    """The trials of a tuning job."""
    trials: list[dict[str, Any]] = client("sagemaker").list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, **request
    )["TrainingJobSummaries"]
    return trials
