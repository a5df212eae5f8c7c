"""The properties of a Tuning step: its best trials, the best one first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local_aws.core.context import Context
from local_aws.jobs.records import TRAINING
from local_aws.pipelines.definition import PipelineStep
from local_aws.pipelines.step_work import await_job
from local_aws.registry import operations
from local_aws.tuning.records import FAMILY, TRIALS

ARN = "arn:aws:sagemaker:us-east-1:123456789012"


def trial(number: int) -> dict[str, Any]:
    """A completed training job whose objective is its number."""
    return {
        "TrainingJobName": f"trial-{number:02}",
        "TrainingJobArn": f"{ARN}:training-job/trial-{number:02}",
        "TrainingJobStatus": "Completed",
        "CreationTime": 1.0,
        "TrainingEndTime": 2.0 + number,
        "FinalMetricDataList": [{"MetricName": "score", "Value": float(number), "Timestamp": 2.0}],
    }


@pytest.mark.parametrize("where", ["configuration", "definition"])
@pytest.mark.parametrize(("kind", "best"), [("Minimize", list(range(50))), ("Maximize", list(range(59, 9, -1)))])
def test_the_fifty_best_trials_are_properties_of_the_step(
    tmp_path: Path, where: str, kind: str, best: list[int]
) -> None:
    """Whether the objective stands in the tuning job's configuration or in the definition of its training jobs."""
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1", operations=operations())
    objective = {"MetricName": "score", "Type": kind}
    config: dict[str, Any] = {
        "Strategy": "Random",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 60, "MaxParallelTrainingJobs": 1},
    }
    definition: dict[str, Any] = {
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/jobs",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    if where == "configuration":
        config["HyperParameterTuningJobObjective"] = objective
    else:
        definition["TuningObjective"] = objective
    tuning = {
        "HyperParameterTuningJobName": "search",
        "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/search",
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": definition,
        "CreationTime": 1.0,
        TRIALS: [{"Name": f"trial-{number:02}", "Values": {"x": str(number)}} for number in range(60)],
    }
    context.table(FAMILY).put("search", tuning)
    for number in range(60):
        context.table(TRAINING).put(f"trial-{number:02}", trial(number))
    properties = await_job(context, PipelineStep("Tune", "Tuning", {}), "search")
    names = [summary["TrainingJobName"] for summary in properties["TrainingJobSummaries"]]
    assert names == [f"trial-{number:02}" for number in best]
    context.stop()
