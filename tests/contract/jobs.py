"""Helpers for tests of jobs: a bucket, small scripts as jobs, and valid requests."""

from __future__ import annotations

import io
import json
import tarfile
import textwrap
import time
from collections.abc import Callable
from typing import Any

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.13-cpu-amzn2023-sagemaker"
ROLE = "arn:aws:iam::123456789012:role/jobs"
BUCKET = "jobs"

ClientFactory = Callable[[str], Any]


def source(client: ClientFactory, name: str, script: str, **files: str) -> str:
    """Pack `script` as train.py (and other files) the way the SDK does; returns its S3 URI."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path, text in {"train.py": textwrap.dedent(script), **files}.items():
            content = text.encode()
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    key = f"code/{name}/sourcedir.tar.gz"
    client("s3").put_object(Bucket=BUCKET, Key=key, Body=packed.getvalue())
    return f"s3://{BUCKET}/{key}"


def training_request(client: ClientFactory, name: str, script: str, **changes: Any) -> dict[str, Any]:
    """A CreateTrainingJob request that runs `script` in script mode; `changes` replace members."""
    parameters = {
        "sagemaker_program": json.dumps("train.py"),
        "sagemaker_submit_directory": json.dumps(source(client, name, script)),
    }
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 120},
        "HyperParameters": parameters,
    }
    request["HyperParameters"] = parameters | changes.pop("HyperParameters", {})
    return request | changes


def until(check: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """Poll until `check` returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing came of {check} in {seconds:.0f} s")


def finished_training(client: ClientFactory, name: str, *, seconds: float = 60.0) -> dict[str, Any]:
    """The description of a training job once it has ended."""

    def described() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_training_job(TrainingJobName=name)
        return job if job["TrainingJobStatus"] not in {"InProgress", "Stopping"} else None

    job: dict[str, Any] = until(described, seconds=seconds)
    return job


def log_lines(client: ClientFactory, group: str, name: str) -> list[str]:
    """The lines that a job printed, from CloudWatch Logs."""
    streams = client("logs").describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    return [
        event["message"]
        for stream in streams
        for event in client("logs").get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
        )["events"]
    ]


def archive_members(client: ClientFactory, uri: str) -> dict[str, bytes]:
    """The files of a .tar.gz in S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: content.read() for name, content in members.items() if content is not None}


def text_of(client: ClientFactory, uri: str) -> str:
    """One S3 object as text."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    text: str = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return text
