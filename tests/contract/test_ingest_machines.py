"""Ingest as a processing job of several machines: they write what one machine writes."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.shared.assets import write_source_archive
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, ROLE, log_lines, until
from tests.unit.bin_bucket import bucket as bins

PHOTOS = "bins"
OUTPUT = "/opt/ml/processing/output"
CODE = "/opt/ml/processing/input/code"
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", autouse=True)
def buckets(client: ClientFactory, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bins, one of them without readable metadata, and the code as the pipeline packs it."""
    s3 = client("s3")
    for name in (BUCKET, PHOTOS):
        s3.create_bucket(Bucket=name)
    for key, data in {**bins(blocks=8, photos=6), "metadata/00300.json": b"{"}.items():
        s3.put_object(Bucket=PHOTOS, Key=key, Body=data)
    archive = write_source_archive(tmp_path_factory.mktemp("code"))
    s3.upload_file(str(archive.path), BUCKET, f"code/{archive.sha256}.gz")


def run(client: ClientFactory, name: str, machines: int, *, prefix: str) -> dict[str, Any]:
    """Run the job as the pipeline does, to its end."""
    code = {
        "InputName": "code",
        "S3Input": {
            "S3Uri": f"s3://{BUCKET}/code/",
            "LocalPath": CODE,
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        },
    }
    outputs = [
        {
            "OutputName": folder,
            "S3Output": {
                "S3Uri": f"s3://{BUCKET}/{prefix}/{folder}",
                "LocalPath": f"{OUTPUT}/{folder}",
                "S3UploadMode": "EndOfJob",
            },
        }
        for folder in (*SPLITS, "report")
    ]
    command = f'set -e; cd {CODE}; tar -xzf *.gz; exec python3 ingest.py "$@"'
    arguments = ["--photos-uri", f"s3://{PHOTOS}/", "--shard-photos", "6", "--output", OUTPUT]
    config = ["--resource-config", "/opt/ml/config/resourceconfig.json"]
    client("sagemaker").create_processing_job(
        ProcessingJobName=name,
        AppSpecification={
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["/bin/bash", "-c", command, "ingest"],
            "ContainerArguments": [*arguments, *config],
        },
        ProcessingResources={
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": machines, "VolumeSizeInGB": 1}
        },
        RoleArn=ROLE,
        StoppingCondition={"MaxRuntimeInSeconds": 120},
        ProcessingInputs=[code],
        ProcessingOutputConfig={"Outputs": outputs},
    )

    def described() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_processing_job(ProcessingJobName=name)
        return job if job["ProcessingJobStatus"] != "InProgress" else None

    job: dict[str, Any] = until(described, seconds=120)
    assert job["ProcessingJobStatus"] == "Completed", log_lines(client, LOG_GROUP, name)
    return job


def stored(client: ClientFactory, prefix: str) -> dict[str, bytes]:
    """Every object below a prefix."""
    s3 = client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]]
    return {key.removeprefix(f"{prefix}/"): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def test_three_machines_leave_what_one_leaves_and_a_second_attempt_does_nothing_again(client: ClientFactory) -> None:
    run(client, "one", 1, prefix="executions/one/ingest")
    run(client, "three", 3, prefix="executions/three/ingest")
    one, three = stored(client, "executions/one/ingest"), stored(client, "executions/three/ingest")
    parts = {name for name in three if "books-" in name}
    assert parts == {f"report/books-{index:02}-of-03.json" for index in range(3)}
    assert {name: data for name, data in three.items() if name not in parts} == one
    assert b"data:image/jpeg" in one["report/exploration.html"]
    run(client, "again", 3, prefix="executions/three/ingest")
    said = "\n".join(log_lines(client, LOG_GROUP, "again"))
    assert said.count("shards were finished by an earlier attempt") == 3 and "0 of 0 photos" in said
    assert stored(client, "executions/three/ingest") == three
