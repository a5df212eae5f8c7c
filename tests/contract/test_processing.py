"""Processing jobs through boto3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.images.filesystem import why_shared
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import (
    BUCKET,
    IMAGE,
    ROLE,
    archive_members,
    finished_training,
    log_lines,
    text_of,
    training_request,
    until,
)

OUTPUT = "/opt/ml/processing/output"
TRAINING_CODE = Path(__file__).parents[2] / "training_code"
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)
    for name in ("a", "b", "c"):
        client("s3").put_object(Bucket=BUCKET, Key=f"in/{name}.txt", Body=name.encode())


def start(client: ClientFactory, name: str, script: str, **changes: Any) -> None:
    request: dict[str, Any] = {
        "ProcessingJobName": name,
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["/bin/bash", "-c", script, "script"],
            "ContainerArguments": ["--output", OUTPUT],
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        },
        "RoleArn": ROLE,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "ProcessingInputs": [s3_input("FullyReplicated")],
        "ProcessingOutputConfig": outputs(name),
    }
    client("sagemaker").create_processing_job(**request | changes)


def outputs(name: str, **members: Any) -> dict[str, Any]:
    target = {"S3Uri": f"s3://{BUCKET}/out/{name}", "LocalPath": OUTPUT, "S3UploadMode": "EndOfJob"}
    return {"Outputs": [{"OutputName": "report", "S3Output": target}], **members}


def s3_input(distribution: str) -> dict[str, Any]:
    return {
        "InputName": "photos",
        "S3Input": {
            "S3Uri": f"s3://{BUCKET}/in/",
            "LocalPath": "/opt/ml/processing/input/photos",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": distribution,
        },
    }


def finished(client: ClientFactory, name: str) -> dict[str, Any]:
    def described() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_processing_job(ProcessingJobName=name)
        return job if job["ProcessingJobStatus"] not in {"InProgress", "Stopping"} else None

    job: dict[str, Any] = until(described)
    return job


def test_inputs_arguments_environment_and_outputs(client: ClientFactory) -> None:
    script = 'cat /opt/ml/processing/input/photos/* > "$2/all.txt"; echo "$COLOUR" >> $2/all.txt; python3 -V; echo done'
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    config = outputs("plain", KmsKeyId=key)
    start(client, "plain", script, Environment={"COLOUR": "/opt/ml/yellow"}, ProcessingOutputConfig=config)
    job = finished(client, "plain")
    assert job["ProcessingJobStatus"] == "Completed", job
    text = text_of(client, f"s3://{BUCKET}/out/plain/all.txt")
    assert client("s3").head_object(Bucket=BUCKET, Key="out/plain/all.txt")["SSEKMSKeyId"] == key
    assert text.startswith("abc/") and text.endswith("/yellow\n")
    assert why_shared() is not None or text == "abc/opt/ml/yellow\n", "as on AWS, where it can be"
    assert "done" in log_lines(client, LOG_GROUP, "plain")
    assert job["ProcessingStartTime"] <= job["ProcessingEndTime"]


def test_machines_share_the_objects_between_them(client: ClientFactory) -> None:
    read = "import json; print(json.load(open('/opt/ml/config/resourceconfig.json'))['current_host'])"
    script = f'me=$(python3 -c "{read}"); cat /opt/ml/processing/input/photos/* > $2/$me.txt'
    cluster = {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}}
    start(client, "shared", script, ProcessingResources=cluster, ProcessingInputs=[s3_input("ShardedByS3Key")])
    assert finished(client, "shared")["ProcessingJobStatus"] == "Completed"
    texts = [text_of(client, f"s3://{BUCKET}/out/shared/algo-{number}.txt") for number in (1, 2)]
    assert sorted("".join(texts)) == ["a", "b", "c"]
    assert all(texts)


def test_a_failure_keeps_the_message_and_uploads_nothing(client: ClientFactory) -> None:
    script = "echo partial > $2/partial; echo 'no labels' > /opt/ml/output/message; exit 3"
    start(client, "failing", script)
    job = finished(client, "failing")
    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == ("Failed", "no labels")
    assert job["FailureReason"].endswith("exit code: 3")
    assert client("s3").list_objects_v2(Bucket=BUCKET, Prefix="out/failing")["KeyCount"] == 0


def test_the_messages_of_all_machines_are_the_exit_message(client: ClientFactory) -> None:
    cluster = {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}}
    start(client, "two-messages", "echo 'shared;' > /opt/ml/output/message", ProcessingResources=cluster)
    assert finished(client, "two-messages").get("ExitMessage") == "shared;shared;"


def test_what_a_script_of_this_project_says_of_its_failure_is_the_exit_message(
    client: ClientFactory, tmp_path: Path
) -> None:
    script = tmp_path / "failing.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(TRAINING_CODE)!r})\n"
        "from jobs.container import JobError, run_job\n"
        "def work():\n"
        "    raise JobError('no labels')\n"
        "sys.exit(run_job(work))\n"
    )
    start(client, "explained", f"exec python3 '{script}'")
    job = finished(client, "explained")
    assert (job["ProcessingJobStatus"], job.get("ExitMessage")) == ("Failed", "no labels")


def test_what_a_job_installs_stays_in_the_job(client: ClientFactory) -> None:
    script = 'python3 -c "import sys, json; print(json.dumps([sys.prefix, sys.base_prefix]))" > $2/prefix.json'
    start(client, "layer", script)
    assert finished(client, "layer")["ProcessingJobStatus"] == "Completed"
    prefix, base = json.loads(text_of(client, f"s3://{BUCKET}/out/layer/prefix.json"))
    assert "/jobs/processing/layer/" in prefix
    assert prefix != base


def test_a_job_leaves_the_files_of_another_kind_of_job_alone(client: ClientFactory, tmp_path: Path) -> None:
    """AWS's names are unique among training jobs and among processing jobs, so each kind may have one of that name."""
    ready, go = tmp_path / "ready", tmp_path / "go"
    script = f"""
        import os, pathlib, threading
        pathlib.Path({str(ready)!r}).touch()
        while not pathlib.Path({str(go)!r}).exists():
            threading.Event().wait(0.05)
        pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("here")
    """
    client("sagemaker").create_training_job(**training_request(client, "twin", script))
    until(ready.exists)
    start(client, "twin", "true")
    client("sagemaker").stop_processing_job(ProcessingJobName="twin")
    assert finished(client, "twin")["ProcessingJobStatus"] == "Stopped"
    go.touch()
    job = finished_training(client, "twin")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"model.txt": b"here"}


def test_stopping_and_time_limits(client: ClientFactory) -> None:
    start(client, "stopped", "echo ready; sleep 60")
    start(client, "long", "sleep 60", StoppingCondition={"MaxRuntimeInSeconds": 1})
    until(lambda: "ProcessingStartTime" in client("sagemaker").describe_processing_job(ProcessingJobName="stopped"))
    client("sagemaker").stop_processing_job(ProcessingJobName="stopped")
    assert finished(client, "stopped")["ProcessingJobStatus"] == "Stopped"
    job = finished(client, "long")
    assert job["ProcessingJobStatus"] == "Stopped"
    assert "MaxRuntimeInSeconds" in job["FailureReason"]
    with pytest.raises(ClientError, match="ValidationException"):
        client("sagemaker").stop_processing_job(ProcessingJobName="long")


def test_what_cannot_be_is_refused(client: ClientFactory) -> None:
    wrong = s3_input("FullyReplicated")
    wrong["S3Input"]["LocalPath"] = "/tmp/photos"
    with pytest.raises(ClientError, match="must be below /opt/ml/processing/"):
        start(client, "refused", "true", ProcessingInputs=[wrong])
    with pytest.raises(ClientError, match="must be unique"):
        start(client, "refused", "true", ProcessingInputs=[s3_input("FullyReplicated")] * 2)
    for member in ("LocalPath", "S3InputMode"):
        lacking = s3_input("FullyReplicated")
        del lacking["S3Input"][member]
        with pytest.raises(ClientError, match=f'required fields for SageMaker-managed S3Input: "{member}"'):
            start(client, "refused", "true", ProcessingInputs=[lacking])
    elsewhere = {"S3Uri": "https://example.com/out", "LocalPath": OUTPUT, "S3UploadMode": "EndOfJob"}
    output = {"Outputs": [{"OutputName": "report", "S3Output": elsewhere}]}
    with pytest.raises(ClientError, match="Expected an S3 URI"):
        start(client, "refused", "true", ProcessingOutputConfig=output)
    with pytest.raises(ClientError, match="NotImplemented"):
        start(client, "refused", "true", AppSpecification={"ImageUri": IMAGE})
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client("sagemaker").describe_processing_job(ProcessingJobName="refused")


def test_names_are_taken_once_and_listed(client: ClientFactory) -> None:
    start(client, "twice", "true")
    with pytest.raises(ClientError, match="ResourceInUse"):
        start(client, "twice", "true")
    finished(client, "twice")
    listed = client("sagemaker").list_processing_jobs(NameContains="twice")["ProcessingJobSummaries"]
    assert [job["ProcessingJobName"] for job in listed] == ["twice"]
