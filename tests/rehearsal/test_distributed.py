"""One job on two machines through AWS's toolkit: its plain start and torchrun train the model of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from local_aws.server import LocalAws
from stacks.shared.assets import write_source_archive
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import IMAGE, ROLE, archive_members, finished_training, log_lines
from tests.training_data import write_embedding
from tests.unit.test_train_ranks import alone

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
BUCKET = "jobs"
FLAGS = {"backbone": "small", "epochs": "3", "batch-size": "16", "dropout": "0", "lr": "0.05"}
LAUNCHES = {
    "plain": {},
    "torchrun": {
        "sagemaker_torch_distributed_enabled": "true",
        "sagemaker_distribution_instance_groups": json.dumps(["homogeneousCluster"]),
    },
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as aws:
        yield connect(aws)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory, client: ClientFactory) -> Path:
    """Features of 61 and 21 photos, which divide by nothing, in the bucket; and the training code."""
    folder = tmp_path_factory.mktemp("embedding")
    write_embedding(folder, train=61, validation=21, views=1)
    client("s3").create_bucket(Bucket=BUCKET)
    for path in folder.rglob("*"):
        if path.is_file():
            client("s3").upload_file(str(path), BUCKET, f"embedding/{path.relative_to(folder)}")
    archive = write_source_archive(tmp_path_factory.mktemp("code"))
    client("s3").upload_file(str(archive.path), BUCKET, "code/sourcedir.tar.gz")
    return folder


def request(name: str, **more: str) -> dict[str, Any]:
    """A training job on two machines."""
    toolkit = {"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{BUCKET}/code/sourcedir.tar.gz"}
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://{BUCKET}/embedding/",
        "S3DataDistributionType": "FullyReplicated",
    }
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "InputDataConfig": [{"ChannelName": "embedding", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        "HyperParameters": {key: json.dumps(value) for key, value in toolkit.items()} | FLAGS | more,
    }


@pytest.mark.parametrize("launch", LAUNCHES)
def test_two_machines_train_the_model_of_one_process(
    launch: str, client: ClientFactory, embedding: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client("sagemaker").create_training_job(**request(f"two-{launch}", **LAUNCHES[launch]))
    job = finished_training(client, f"two-{launch}", seconds=240)
    lines = log_lines(client, "/aws/sagemaker/TrainingJobs", f"two-{launch}")
    assert job["TrainingJobStatus"] == "Completed", "\n".join(lines[-40:])
    assert any("torchrun" in line for line in lines) is (launch == "torchrun")
    assert sum(line.startswith("epoch=0 ") for line in lines) == 1, "the first process alone reports"
    members = archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"])
    ours = load(members["model.safetensors"])
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", value)]
    expected = alone(tmp_path, 2, [*flags, "--embedding", str(embedding)], monkeypatch)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("launch", LAUNCHES)
def test_wrong_data_is_the_failure_reason_of_the_job(launch: str, client: ClientFactory, embedding: Path) -> None:
    """An error in one process ends the whole job, and DescribeTrainingJob has its message."""
    name = f"wrong-{launch}"
    client("sagemaker").create_training_job(**request(name, **(LAUNCHES[launch] | {"backbone": "resnet50"})))
    job = finished_training(client, name, seconds=240)
    assert job["TrainingJobStatus"] == "Failed"
    assert "backbone is resnet50, but the features were embedded with small" in job["FailureReason"]
