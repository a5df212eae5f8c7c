"""Each machine of a job has its own /opt/ml; this computer's folder of that name is neither read nor written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.images.filesystem import SUPERVISOR, why_shared
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
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

own = pytest.mark.skipif(why_shared() is not None, reason=f"no mount namespaces here: {why_shared()}")
# What nearly every public training script does.
PUBLIC = """
    import argparse, json, os, pathlib, subprocess
    parameters = json.load(open("/opt/ml/input/config/hyperparameters.json"))
    text = pathlib.Path("/opt/ml/input/data/train/words.txt").read_text()
    pathlib.Path("/opt/ml/model/model.json").write_text(json.dumps({"text": text, "lr": parameters["lr"]}))
    subprocess.run("echo from a shell > /opt/ml/output/data/shell.txt", shell=True, check=True)
    os.makedirs("/opt/ml/checkpoints", exist_ok=True)
    pathlib.Path("/opt/ml/checkpoints/step").write_text("1")
    print(f"I see {os.environ['SM_MODEL_DIR']}")
"""


def real() -> list[str]:
    """This computer's /opt/ml; nothing where it has none."""
    return sorted(str(path) for path in Path("/opt/ml").rglob("*"))


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> Iterator[None]:
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key="photos/words.txt", Body=b"seen")
    before = real()
    yield
    assert real() == before


def public_request(client: ClientFactory, name: str, script: str = PUBLIC) -> dict[str, object]:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/photos/"}
    return training_request(
        client,
        name,
        script,
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        HyperParameters={"lr": "0.5"},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/{name}/"},
    )


def run_processing(client: ClientFactory, command: list[str]) -> None:
    """Run a job with an input in `/opt/ml/processing/in` and an output in `/opt/ml/processing/out`, to its end."""
    client("sagemaker").create_processing_job(
        ProcessingJobName="public",
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": command},
        RoleArn=ROLE,
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        ProcessingInputs=[
            {
                "InputName": "in",
                "S3Input": {
                    "S3Uri": f"s3://{BUCKET}/photos/",
                    "LocalPath": "/opt/ml/processing/in",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": f"s3://{BUCKET}/processed",
                        "LocalPath": "/opt/ml/processing/out",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
    )

    def ended() -> bool:
        job = client("sagemaker").describe_processing_job(ProcessingJobName="public")
        return bool(job["ProcessingJobStatus"] not in {"InProgress", "Stopping"})

    until(ended, seconds=300)


@own
def test_a_training_script_that_names_opt_ml_reads_and_writes_its_own(client: ClientFactory) -> None:
    client("sagemaker").create_training_job(**public_request(client, "public"))
    job = finished_training(client, "public", seconds=300)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"])
    assert json.loads(model["model.json"]) == {"text": "seen", "lr": "0.5"}
    output = job["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz")
    assert archive_members(client, output)["shell.txt"].strip() == b"from a shell"
    assert text_of(client, f"s3://{BUCKET}/checkpoints/public/step") == "1"
    (seen,) = [line for line in log_lines(client, "/aws/sagemaker/TrainingJobs", "public") if line.startswith("I see")]
    assert seen == "I see /opt/ml/model"


@own
def test_a_processing_job_that_names_opt_ml_has_its_own(client: ClientFactory) -> None:
    code = (
        "import pathlib; there = pathlib.Path('/opt/ml/processing'); "
        "(there / 'out/o.txt').write_text((there / 'in/words.txt').read_text())"
    )
    run_processing(client, ["python3", "-c", code])
    assert text_of(client, f"s3://{BUCKET}/processed/o.txt") == "seen"


@pytest.mark.parametrize("path", ["/tmp/checkpoints", "/opt/ml/../../etc", "/opt/mlx"])
def test_checkpoints_elsewhere_on_this_computer_are_refused(client: ClientFactory, path: str) -> None:
    request = public_request(client, "elsewhere") | {
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints/", "LocalPath": path}
    }
    with pytest.raises(ClientError, match="below /opt/ml/"):
        client("sagemaker").create_training_job(**request)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="util-linux is not installed")
@own
def test_where_opt_has_no_ml_the_rest_of_opt_stays(tmp_path: Path) -> None:
    """In its namespace the test gives this computer another /opt; nobody needs to be root."""
    (tmp_path / "ml" / "inner").mkdir(parents=True)
    looks = (
        "import os; open('/opt/ml/made', 'w').close(); "
        "print(open('/opt/tool/bin').read(), os.readlink('/opt/link'), os.getcwd())"
    )
    supervised = [sys.executable, "-I", "-S", str(SUPERVISOR), "--opt-ml", str(tmp_path / "ml")]
    script = (
        "mount -t tmpfs none /opt && mkdir /opt/tool && echo real > /opt/tool/bin && ln -s tool /opt/link && cd $FOLDER"
        ' && "$@" && ls /opt'
    )
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"),
            *supervised,
            *(sys.executable, "-I", "-S", "-c", looks),
        ],
        env={**os.environ, "FOLDER": str(tmp_path / "ml" / "inner")},
        stdin=open_pipe(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.split()
    assert said[:3] == ["real", "tool", "/opt/ml/inner"]
    assert sorted(said[3:]) == ["link", "tool"], "outside of the container nothing has changed"
    assert (tmp_path / "ml" / "made").exists()


def open_pipe() -> int:
    """A standard input that does not end: its end would end the container."""
    reads, writes = os.pipe()
    os.set_inheritable(writes, True)
    return reads


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientFactory]:
    """A local AWS on a computer that has no mount namespaces, in a folder whose path a shell splits."""
    monkeypatch.setenv("LOCAL_AWS_OWN_OPT_ML", "no")
    with LocalAws(tmp_path / "it's a state") as aws:
        client = connect(aws)
        client("s3").create_bucket(Bucket=BUCKET)
        client("s3").put_object(Bucket=BUCKET, Key="photos/words.txt", Body=b"seen")
        yield client


def test_where_it_cannot_have_its_own_a_script_that_opens_opt_ml_is_refused_by_name(shared: ClientFactory) -> None:
    """Whether it reads or only writes; one that uses the variables runs."""
    scripts = {
        "reads": PUBLIC,
        "writes": "import os\n    os.makedirs('/opt/ml/model', exist_ok=True)",
        "shell": "import subprocess\n    subprocess.run('echo x > /opt/ml/model/x', shell=True, check=True)",
        "variables": "import os\n    open(os.environ['SM_MODEL_DIR'] + '/x', 'w').close()",
    }
    for name, script in scripts.items():
        shared("sagemaker").create_training_job(**public_request(shared, name, f"\n    {script}"))
    ended = {name: finished_training(shared, name, seconds=300) for name in scripts}
    assert ended.pop("variables")["TrainingJobStatus"] == "Completed"
    for name, job in ended.items():
        assert job["TrainingJobStatus"] == "Failed", name
        assert "cannot give a job its own /opt/ml" in job["FailureReason"], job["FailureReason"]


def test_where_it_cannot_have_its_own_a_command_may_name_it(shared: ClientFactory) -> None:
    """Those of the pipeline's jobs do, and a shell reads them."""
    run_processing(shared, ["/bin/bash", "-c", "cd /opt/ml/processing && cat in/words.txt > out/o.txt"])
    assert text_of(shared, f"s3://{BUCKET}/processed/o.txt") == "seen"


def test_where_it_cannot_have_its_own_a_shell_script_that_names_it_is_refused(shared: ClientFactory) -> None:
    shared("s3").put_object(Bucket=BUCKET, Key="photos/run.sh", Body=b"echo x > /opt/ml/model/x\n")
    shared("sagemaker").create_training_job(**public_request(shared, "script"))
    job = finished_training(shared, "script", seconds=300)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: input/data/train/run.sh names /opt/ml")
