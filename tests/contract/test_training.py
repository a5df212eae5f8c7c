"""Training jobs through boto3: the container contract, statuses, artefacts, logs, metrics, limits, interruptions."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws, LocalAwsError
from tests import tiny_packages
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import (
    BUCKET,
    IMAGE,
    archive_members,
    finished_training,
    log_lines,
    source,
    text_of,
    training_request,
    until,
)

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def start(client: ClientFactory, name: str, script: str, **changes: Any) -> None:
    client("sagemaker").create_training_job(**training_request(client, name, script, **changes))


def statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def test_a_job_gets_the_packages_of_its_requirements_and_nobody_else_does(
    client: ClientFactory, local_aws: LocalAws, tmp_path: Path
) -> None:
    """pip is found although a shell would split the address of the state."""
    assert "'" in str(local_aws.state_dir)
    tiny_packages.wheel(tmp_path, "tiny_words", "1.0", {"tiny_words.py": "WORD = 'installed'\n"})
    script = """
        import os, pathlib, tiny_words
        pathlib.Path(os.environ["SM_MODEL_DIR"], "word.txt").write_text(tiny_words.WORD)
    """
    code = source(client, "with-requirements", script, **{"requirements.txt": "tiny-words==1.0\n"})
    start(
        client,
        "needy",
        script,
        HyperParameters={"sagemaker_submit_directory": json.dumps(code)},
        Environment={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": tmp_path.as_uri()},
    )
    job = finished_training(client, "needy")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"word.txt": b"installed"}
    assert importlib.util.find_spec("tiny_words") is None


def test_a_job_runs_under_the_container_contract(client: ClientFactory) -> None:
    client("s3").put_object(Bucket=BUCKET, Key="photos/train/a/1.txt", Body=b"one")
    client("s3").put_object(Bucket=BUCKET, Key="photos/train/2.txt", Body=b"two")
    script = """
        import json, os, pathlib, sys
        folder = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"])
        found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        seen = {
            "files": found, "arguments": sys.argv[1:], "hosts": json.loads(os.environ["SM_HOSTS"]),
            "instance": os.environ["SM_CURRENT_INSTANCE_TYPE"], "colour": os.environ["COLOUR"],
            "job": os.environ["TRAINING_JOB_NAME"], "lr": os.environ["SM_HP_LR"], "model": os.environ["SM_MODEL_DIR"],
        }
        print(f"epoch=1 validation:loss={0.75} validation:accuracy={0.5}")
        print(f"epoch=2 validation:loss={0.25} validation:accuracy={0.9}")
        pathlib.Path(os.environ["SM_MODEL_DIR"], "seen.json").write_text(json.dumps(seen))
        pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "note.txt").write_text("data")
    """
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    start(
        client,
        "contract",
        script,
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/output", "KmsKeyId": key},
        HyperParameters={"lr": "0.01", "strategy": json.dumps("head")},
        Environment={"COLOUR": "yellow"},
        AlgorithmSpecification={
            "TrainingImage": training_request(client, "x", "")["AlgorithmSpecification"]["TrainingImage"],
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "validation:loss", "Regex": "validation:loss=([0-9.]+)"}],
        },
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/photos/train/"}},
            }
        ],
    )
    job = finished_training(client, "contract")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/output/contract/output/model.tar.gz"
    seen = json.loads(archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"])["seen.json"])
    assert seen["files"] == ["2.txt", "a/1.txt"]
    assert seen["arguments"] == ["--lr", "0.01", "--strategy", "head"]
    assert (seen["hosts"], seen["instance"], seen["colour"]) == (["algo-1"], "ml.m5.large", "yellow")
    assert (seen["job"], seen["lr"]) == ("contract", "0.01")
    assert archive_members(client, f"s3://{BUCKET}/output/contract/output/output.tar.gz") == {"note.txt": b"data"}
    for name in ("model", "output"):
        kept = client("s3").head_object(Bucket=BUCKET, Key=f"output/contract/output/{name}.tar.gz")
        assert kept["SSEKMSKeyId"] == key
    assert [(metric["MetricName"], metric["Value"]) for metric in job["FinalMetricDataList"]] == [
        ("validation:loss", 0.25)
    ]
    assert job["TrainingStartTime"] <= job["TrainingEndTime"]
    with pytest.raises(ClientError, match="ResourceInUse"):
        start(client, "contract", script)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client("sagemaker").describe_training_job(TrainingJobName="nobody")
    listed = client("sagemaker").list_training_jobs(NameContains="contract", StatusEquals="Completed")
    assert [summary["TrainingJobName"] for summary in listed["TrainingJobSummaries"]] == ["contract"]
    assert any("epoch=2" in line for line in log_lines(client, LOG_GROUP, "contract"))


def test_the_failure_reason_names_the_scripts_error(client: ClientFactory) -> None:
    start(client, "failing", "raise ValueError('no photo in the channel')")
    job = finished_training(client, "failing")
    assert (job["TrainingJobStatus"], statuses(job)[-1]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:")
    assert "no photo in the channel" in job["FailureReason"]
    assert job["FailureReason"].endswith("exit code: 1")


@pytest.mark.parametrize("own_entrypoint", [False, True])
def test_the_failure_reason_of_a_job_that_wrote_none_says_how_its_log_ends(
    own_entrypoint: bool, client: ClientFactory
) -> None:
    """A library that aborts the process prints to the log only: the toolkit finds no Python error to copy."""
    name = "aborting-alone" if own_entrypoint else "aborting"
    script = "import os, sys; print('the last words', file=sys.stderr, flush=True); os.abort()"
    algorithm: dict[str, Any] = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
    if own_entrypoint:
        algorithm |= {"ContainerEntrypoint": ["python", "-c", script]}
    start(client, name, script, AlgorithmSpecification=algorithm)
    reason = finished_training(client, name)["FailureReason"]
    assert f"the job wrote no reason; log stream {name}/algo-1-" in reason
    assert "the last words" in reason
    assert reason.endswith(f"exit code: {134 if own_entrypoint else 1}")


def test_input_that_is_gone_when_the_job_reads_it_fails_the_job(client: ClientFactory) -> None:
    """The first entry of a manifest is there, so the request is taken; the second is not."""
    manifest = [{"prefix": f"s3://{BUCKET}/some/"}, "there", "gone"]
    client("s3").put_object(Bucket=BUCKET, Key="some/there", Body=b"x")
    client("s3").put_object(Bucket=BUCKET, Key="some.manifest", Body=json.dumps(manifest).encode())
    channel = {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": f"s3://{BUCKET}/some.manifest"}},
    }
    start(client, "no-input", "print('never')", InputDataConfig=[channel])
    job = finished_training(client, "no-input")
    assert job["TrainingJobStatus"] == "Failed"
    assert "No S3 objects found" in job["FailureReason"]


_SAVES_ON_SIGTERM = """
    import os, pathlib, signal, sys, time
    model = pathlib.Path(os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
    def save(*_):
        (model / "saved").write_text("on SIGTERM")
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    (model / "begun").write_text("")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_in_script_mode_sigterm_does_not_reach_the_script(client: ClientFactory) -> None:
    """The first process of AWS's image passes no signal on: the script is killed, with what it has written so far."""
    start(client, "stopped", _SAVES_ON_SIGTERM)
    until(lambda: any(line == "ready" for line in logs_so_far(client, "stopped")))
    client("sagemaker").stop_training_job(TrainingJobName="stopped")
    job = finished_training(client, "stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"begun": b""}
    with pytest.raises(ClientError, match="ValidationException"):
        client("sagemaker").stop_training_job(TrainingJobName="stopped")


def logs_so_far(client: ClientFactory, name: str) -> list[str]:
    try:
        return log_lines(client, LOG_GROUP, name)
    except ClientError:
        return []


@pytest.mark.parametrize(
    ("name", "changes", "secondary"),
    [
        ("long", {"StoppingCondition": {"MaxRuntimeInSeconds": 2}}, "MaxRuntimeExceeded"),
        (
            # Its start counts here, so this limit is reached first.
            "late",
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 2, "MaxWaitTimeInSeconds": 2},
            },
            "MaxWaitTimeExceeded",
        ),
    ],
)
def test_a_job_over_a_time_limit_is_stopped_and_says_which(
    client: ClientFactory, name: str, changes: dict[str, Any], secondary: str
) -> None:
    start(client, name, "import time; time.sleep(60)", **changes)
    job = finished_training(client, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", secondary)


def test_a_reclaimed_spot_job_goes_on_from_its_checkpoint(client: ClientFactory, local_aws: Any) -> None:
    script = """
        import os, pathlib, time
        folder = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
        done = folder / "step"
        start = int(done.read_text()) if done.exists() else 0
        print(f"starts at {start}")
        for step in range(start, 3):
            time.sleep(0.2)
            (folder / "step.part").write_text(str(step + 1))
            os.replace(folder / "step.part", done)
            print(f"did {step}")
            if start == 0 and step == 1:
                time.sleep(60)
    """
    start(
        client,
        "spot",
        script,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 200},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/spot/"},
    )
    until(lambda: any(line == "did 1" for line in logs_so_far(client, "spot")))
    local_aws.administer("sagemaker/reclaim", {"TrainingJobName": "spot"})
    job = finished_training(client, "spot")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert statuses(job) == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert text_of(client, f"s3://{BUCKET}/checkpoints/spot/step") == "3"
    assert any(line == "starts at 2" for line in log_lines(client, LOG_GROUP, "spot"))


def test_a_checkpoint_that_the_job_deletes_is_deleted_in_s3(client: ClientFactory) -> None:
    """Also one that it has found there; what others write meanwhile stays and does not come into the job."""
    script = """
        import os, pathlib, time
        import boto3
        folder = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
        s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        (folder / "step-1").write_text("1")
        s3.put_object(Bucket="rotated", Key="run/of-others", Body=b"x")
        listed = lambda: {each["Key"] for each in s3.list_objects_v2(Bucket="rotated").get("Contents", [])}
        while "run/step-1" not in listed():
            time.sleep(0.1)
        (folder / "step-0").unlink()
        (folder / "step-1").unlink()
        (folder / "step-2").write_text("2")
        while listed() != {"run/step-2", "run/of-others"}:
            time.sleep(0.1)
        assert not (folder / "of-others").exists()
        (folder / "step-3").write_text("3")
        (folder / "step-2").unlink()
    """
    client("s3").create_bucket(Bucket="rotated")
    client("s3").put_object(Bucket="rotated", Key="run/step-0", Body=b"0")
    start(client, "rotated", script, CheckpointConfig={"S3Uri": "s3://rotated/run/"})
    job = finished_training(client, "rotated")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    left = client("s3").list_objects_v2(Bucket="rotated")["Contents"]
    assert [item["Key"] for item in left] == ["run/of-others", "run/step-3"], "the end is no interval"


def test_a_checkpoint_that_is_not_uploaded_is_in_the_log_and_fails_the_job(client: ClientFactory) -> None:
    """Its bucket goes while the job runs; a file that the script removes again is no matter."""
    client("s3").create_bucket(Bucket="going")
    script = """
        import os, pathlib, time
        import boto3
        folder = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
        s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        s3.delete_bucket(Bucket="going")
        (folder / "step").write_text("1")
        (folder / "passing").write_text("1")
        time.sleep(2)
        (folder / "passing").unlink()
    """
    start(client, "lost-checkpoint", script, CheckpointConfig={"S3Uri": "s3://going/spot/"})
    job = finished_training(client, "lost-checkpoint")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    said = "checkpoint step was not uploaded to s3://going/spot/: An error occurred (NoSuchBucket)"
    assert job["FailureReason"].startswith(f"ClientError: Artifact upload failed: {said}")
    lines = log_lines(client, LOG_GROUP, "lost-checkpoint")
    assert sum(said in line for line in lines) == 1, "said once, not each time that it is tried"


def test_only_running_spot_jobs_can_be_reclaimed(client: ClientFactory, local_aws: Any) -> None:
    with pytest.raises(LocalAwsError, match="ResourceNotFound"):
        local_aws.administer("sagemaker/reclaim", {"TrainingJobName": "no-such-job"})
    with pytest.raises(LocalAwsError, match="ValidationException"):
        local_aws.administer("sagemaker/reclaim", {})


def test_several_machines_know_each_other_and_leave_one_model(client: ClientFactory) -> None:
    script = """
        import json, os, pathlib, socket
        me, hosts = os.environ["SM_CURRENT_HOST"], json.loads(os.environ["SM_HOSTS"])
        rank, port = hosts.index(me), int(os.environ["MASTER_PORT"])
        if rank == 0:
            with socket.create_server((os.environ["MASTER_ADDR"], port)) as server:
                connection, _ = server.accept()
                heard = connection.recv(100).decode()
            pathlib.Path(os.environ["SM_MODEL_DIR"], "heard").write_text(heard)
        else:
            import time
            for _ in range(100):
                try:
                    with socket.create_connection((hosts[0], port)) as connection:
                        connection.sendall(f"{me} of {len(hosts)}".encode())
                    break
                except OSError:
                    time.sleep(0.1)
            pathlib.Path(os.environ["SM_MODEL_DIR"], "second").write_text("too")
    """
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    start(
        client,
        "pair",
        script,
        ResourceConfig=resources,
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/output", "CompressionType": "NONE"},
    )
    job = finished_training(client, "pair")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/output/pair/output/model/"
    assert text_of(client, f"s3://{BUCKET}/output/pair/output/model/heard") == "algo-2 of 2"
    assert text_of(client, f"s3://{BUCKET}/output/pair/output/model/second") == "too"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds is required"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 50},
            },
            "equal to or greater than MaxRuntimeInSeconds",
        ),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 10, "MaxWaitTimeInSeconds": 50}}, "cannot be set"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}}, "InstanceCount"),
        ({"ResourceConfig": {"InstanceGroups": [], "VolumeSizeInGB": 1}}, "InstanceCount"),
        (
            {
                "ResourceConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceGroups": [{"InstanceGroupName": "all", "InstanceType": "ml.m5.large", "InstanceCount": 1}],
                    "VolumeSizeInGB": 1,
                }
            },
            "not both",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "https://example.com/models"}}, "Expected an S3 URI"),
        ({"CheckpointConfig": {"S3Uri": "https://example.com/checkpoints"}}, "Expected an S3 URI"),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": IMAGE,
                    "TrainingInputMode": "File",
                    "ContainerArguments": ["--fast"],
                }
            },
            "ContainerArguments without ContainerEntrypoint do not run locally",
        ),
    ],
)
def test_what_aws_refuses_is_refused(client: ClientFactory, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words):
        start(client, "refused", "", **changes)
