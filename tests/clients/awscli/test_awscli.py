"""The aws CLI, version 1, as it is typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def aws(*words: str, code: int = 0) -> Any:
    """What a command prints, from JSON where it is; `code` is its exit code."""
    program = shutil.which("aws")
    assert program
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        return done.stderr
    return json.loads(done.stdout) if done.stdout.lstrip().startswith(("{", "[")) else done.stdout


def test_who_asks() -> None:
    assert aws("sts", "get-caller-identity")["Account"] == "123456789012"


def test_files_go_up_and_down(bucket: str, tmp_path: Path) -> None:
    """A file of 9 MB goes up in parts."""
    (tmp_path / "large").write_bytes(b"0123456789" * 900_000)
    aws("s3", "cp", str(tmp_path / "large"), f"s3://{bucket}/up/large", "--checksum-algorithm", "SHA256")
    head = aws("s3api", "head-object", "--bucket", bucket, "--key", "up/large", "--checksum-mode", "ENABLED")
    assert head["ContentLength"] == 9_000_000
    assert head["ChecksumSHA256"].endswith("-2")
    aws("s3", "sync", f"s3://{bucket}/bins", str(tmp_path / "down"))
    assert sorted(path.name for path in (tmp_path / "down").iterdir()) == [f"{number}.txt" for number in range(4)]
    assert "up/large" in aws("s3", "ls", f"s3://{bucket}", "--recursive")
    aws("s3", "rm", f"s3://{bucket}/up", "--recursive")
    said = aws("s3api", "head-bucket", "--bucket", bucket, "--expected-bucket-owner", "999999999999", code=255)
    assert "403" in said


@pytest.fixture
def definition(tmp_path: Path, bucket: str, role: str, training_image: str) -> Iterator[Path]:
    """A pipeline of one processing step, in a file."""
    script = "cat /opt/ml/processing/input/*.txt > /opt/ml/processing/output/all.txt; echo concatenated"
    step = {
        "Name": "Concatenate", "Type": "Processing",
        "Arguments": {
            "AppSpecification": {"ImageUri": training_image, "ContainerEntrypoint": ["bash", "-c", script]},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
            },
            "RoleArn": role,
            "ProcessingInputs": [{
                "InputName": "bins",
                "S3Input": {
                    "S3Uri": f"s3://{bucket}/bins/", "LocalPath": "/opt/ml/processing/input", "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }],
            "ProcessingOutputConfig": {"Outputs": [{
                "OutputName": "all",
                "S3Output": {
                    "S3Uri": f"s3://{bucket}/all", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"
                },
            }]},
        },
    }  # fmt: skip
    file = tmp_path / "definition.json"
    file.write_text(json.dumps({"Version": "2020-12-01", "Steps": [step]}))
    yield file


def test_a_pipeline_from_a_file_its_steps_and_its_log(definition: Path, role: str, bucket: str) -> None:
    made = aws(
        *("sagemaker", "create-pipeline", "--pipeline-name", "FromCli", "--role-arn", role),
        *("--pipeline-definition", f"file://{definition}", "--client-request-token", "t" * 32),
    )
    started = aws("sagemaker", "start-pipeline-execution", "--pipeline-name", made["PipelineArn"])
    execution = started["PipelineExecutionArn"]
    for _ in range(600):
        state = aws("sagemaker", "describe-pipeline-execution", "--pipeline-execution-arn", execution)
        if state["PipelineExecutionStatus"] != "Executing":
            break
    assert state["PipelineExecutionStatus"] == "Succeeded", state
    (step,) = aws("sagemaker", "list-pipeline-execution-steps", "--pipeline-execution-arn", execution)[
        "PipelineExecutionSteps"
    ]
    job = step["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
    aws("sagemaker", "wait", "processing-job-completed-or-stopped", "--processing-job-name", job)
    printed = aws("logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/ProcessingJobs")["events"]
    assert "concatenated" in [event["message"] for event in printed]
    assert aws("s3", "cp", f"s3://{bucket}/all/all.txt", "-") == "1\n2\n3\n4\n"
    said = aws(
        *("sagemaker", "create-pipeline", "--pipeline-name", "FromCli", "--role-arn", role),
        *("--pipeline-definition", f"file://{definition}", "--client-request-token", "u" * 32),
        code=255,
    )
    assert "Pipeline names must be unique within an AWS account and region" in said


def test_an_endpoint_is_made_asked_and_deleted(tmp_path: Path, role: str, image: str, model_data: str) -> None:
    aws(
        *("sagemaker", "create-model", "--model-name", "cli", "--execution-role-arn", role),
        *("--primary-container", f"Image={image},ModelDataUrl={model_data}"),
    )
    variant = "VariantName=one,ModelName=cli,InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", "cli", "--production-variants", variant)
    aws("sagemaker", "create-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli")
    aws("sagemaker", "wait", "endpoint-in-service", "--endpoint-name", "cli")
    (tmp_path / "photo").write_bytes(b"photo")
    aws(
        *("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "cli", "--content-type", "image/jpeg"),
        *("--body", f"fileb://{tmp_path / 'photo'}", str(tmp_path / "answer.json")),
    )
    assert json.loads((tmp_path / "answer.json").read_text())["bytes"] == 5
    aws("sagemaker", "delete-endpoint", "--endpoint-name", "cli")


def test_a_stack_is_deployed_and_deleted(tmp_path: Path) -> None:
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "from-a-stack"}}}}
    (tmp_path / "template.json").write_text(json.dumps(template))
    deploy = ("cloudformation", "deploy", "--stack-name", "cli", "--template-file", str(tmp_path / "template.json"))
    assert "Successfully created/updated stack" in aws(*deploy)
    # Version 1 writes the address of SQS itself; no export can lead it here, and without the flag it leaves loopback.
    here = ("--endpoint-url", os.environ["AWS_ENDPOINT_URL"])
    assert "from-a-stack" in aws("sqs", "get-queue-url", "--queue-name", "from-a-stack", *here)["QueueUrl"]
    assert "No changes to deploy" in aws(*deploy, code=255)
    aws("cloudformation", "delete-stack", "--stack-name", "cli")
    aws("cloudformation", "wait", "stack-delete-complete", "--stack-name", "cli")


def test_what_does_not_run_here_says_so() -> None:
    assert "The local AWS has no service pricing; AWS does" in aws("pricing", "describe-services", code=255)
    policy = ("--policy-arn", "arn:aws:iam::aws:policy/No")
    said = aws("iam", "attach-role-policy", "--role-name", "data-scientist", *policy, code=255)
    assert "does not exist or is not attachable" in said
