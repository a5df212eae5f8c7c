"""A kept rehearsal as a notebook meets it: its session, and the parts of the pipeline's training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
import sagemaker
from sagemaker.pytorch import PyTorch

ENVIRONMENT = "binventory-dev"


@pytest.fixture(scope="session")
def session() -> sagemaker.Session:
    """Everything that it knows comes from the exports."""
    return sagemaker.Session()


@pytest.fixture(scope="session")
def client(session: sagemaker.Session) -> Any:
    """The control plane."""
    return session.sagemaker_client


@pytest.fixture(scope="session")
def job(client: Any) -> dict[str, Any]:
    """The training job of the pipeline's last execution."""
    last = client.list_pipeline_executions(PipelineName=ENVIRONMENT, MaxResults=1)["PipelineExecutionSummaries"][0]
    listed = client.list_pipeline_execution_steps(PipelineExecutionArn=last["PipelineExecutionArn"], MaxResults=50)
    steps = {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}
    name = steps["Train"]["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2]
    found: dict[str, Any] = client.describe_training_job(TrainingJobName=name)
    return found


@pytest.fixture(scope="session")
def channels(job: dict[str, Any]) -> dict[str, str]:
    """The features that the pipeline has computed."""
    return {item["ChannelName"]: item["DataSource"]["S3DataSource"]["S3Uri"] for item in job["InputDataConfig"]}


@pytest.fixture(scope="session")
def estimator(job: dict[str, Any], session: sagemaker.Session) -> Callable[..., PyTorch]:
    """Makes an estimator of this project's script and image; what is given replaces the pipeline's values."""
    given = {name: value.strip('"') for name, value in job["HyperParameters"].items()}
    own = {name: value for name, value in given.items() if not name.startswith(("sagemaker_", "_"))}

    def make(hyperparameters: dict[str, Any] | None = None, **changes: Any) -> PyTorch:
        arguments = {
            "entry_point": "train.py",
            "source_dir": given["sagemaker_submit_directory"],
            "image_uri": job["AlgorithmSpecification"]["TrainingImage"],
            "role": job["RoleArn"],
            "instance_type": "ml.m5.large",
            "instance_count": 1,
            "hyperparameters": own | {"epochs": 1} | (hyperparameters or {}),
            "output_path": job["OutputDataConfig"]["S3OutputPath"],
            "sagemaker_session": session,
        }
        return PyTorch(**{name: value for name, value in (arguments | changes).items() if value is not None})

    return make


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A bin's photo, from the public bucket of the rehearsal."""
    body: bytes = boto3.client("s3").get_object(Bucket="aft-vbi-pds", Key="bin-images/00101.jpg")["Body"].read()
    return body
