"""EC2 machines in the local AWS: the user data as it is deployed, run for real, ends its machine whatever happens.

The script, the training code, S3 and the metadata service are real; `shutdown` is the machine's own and local time runs
ten times as fast.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binventory.cli import run as command
from binventory.errors import Exit
from local_aws.server import LocalAws
from stacks.assets import write_source_archive
from stacks.ec2_stack import USER_DATA
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import until
from tests.training_data import write_split

NAME, DATA, MODELS = "binventory-dev", "machines-data", "machines-models"
EPOCHS = 700
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(tmp_path_factory.mktemp("aws"), time_scale=0.1) as started:
        yield started
    assert started.processes() == []


@pytest.fixture(scope="module")
def client(aws: LocalAws) -> ClientFactory:
    return connect(aws)


@pytest.fixture(scope="module")
def account(aws: LocalAws, client: ClientFactory, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Buckets with shards and code, the stacks' outputs, and a pipeline whose Ingest has made the shards."""
    folder = tmp_path_factory.mktemp("shards")
    for bucket in (DATA, MODELS):
        client("s3").create_bucket(Bucket=bucket)
    for number, (split, photos) in enumerate((("train", 60), ("validation", 25), ("test", 25))):
        for path in write_split(folder, split, photos, first=1000 * (number + 1)).iterdir():
            client("s3").upload_file(str(path), DATA, f"executions/first/ingest/{split}/{path.name}")
    client("s3").upload_file(str(write_source_archive(folder).path), DATA, "code.tar.gz")
    _create_stack(client, f"{NAME}-storage", {}, {"DataBucketName": DATA, "ModelBucketName": MODELS})
    deploy_machines(client)


def deploy_machines(client: ClientFactory, *, code: str = "code.tar.gz", limit: int = 300, brake: int = 60) -> None:
    """The stack that machines are started from, as CloudFormation makes it; deployed anew for other limits."""
    variables = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "CODE_URI": f"s3://{DATA}/{code}",
        "EXECUTIONS_URI": f"s3://{DATA}/executions",
        "MAX_MINUTES": "4",
        "LIMIT_SECONDS": str(limit),
        "BRAKE_MINUTES": str(brake),
    }
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    script = f"#!/bin/bash\n{exports}{USER_DATA.read_text()}"
    tags = [{"Key": "deployment", "Value": NAME}]
    template = {
        "Type": "AWS::EC2::LaunchTemplate",
        "Properties": {
            "LaunchTemplateName": f"{NAME}-ec2",
            "LaunchTemplateData": {
                "ImageId": "ami-1",
                "InstanceType": "t3.2xlarge",
                "UserData": base64.b64encode(script.encode()).decode(),
                "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
            },
        },
    }
    outputs = {
        "LaunchTemplateName": f"{NAME}-ec2", "SubnetIds": "subnet-1,subnet-2", "SecurityGroupId": "sg-1",
        "InstanceType": "t3.2xlarge", "MaxRuntimeMinutes": "4", "VolumeGb": "100",
    }  # fmt: skip
    cloudformation = client("cloudformation")
    found = cloudformation.list_stacks(StackStatusFilter=["CREATE_COMPLETE"])["StackSummaries"]
    if any(stack["StackName"] == f"{NAME}-ec2" for stack in found):
        cloudformation.delete_stack(StackName=f"{NAME}-ec2")
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=f"{NAME}-ec2", WaiterConfig={"Delay": 0.1})
    _create_stack(client, f"{NAME}-ec2", {"Template": template}, outputs)


def _create_stack(client: ClientFactory, name: str, resources: dict[str, Any], outputs: dict[str, str]) -> None:
    body = {
        "Resources": resources or {"Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
    client("cloudformation").get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.1})


def write_plan(client: ClientFactory, run: str, *, epochs: int) -> None:
    """The plan that `binventory train --on ec2` would write, for a network that is small enough for a test."""
    network = {"backbone": "small", "strategy": "head", "weights": "none", "seed": "1"}
    plan = {
        "run": run,
        "execution": "arn:aws:sagemaker:us-east-1:123456789012:pipeline/binventory-dev/execution/first",
        "shards": {split: f"s3://{DATA}/executions/first/ingest/{split}" for split in SPLITS},
        "checkpoints": f"s3://{DATA}/checkpoints/{run}/",
        "models": f"s3://{MODELS}/executions/{run}/",
        "flags": {
            "embed": {**network, "views": "1"},
            "train": {**network, "epochs": str(epochs), "lr": "0.02", "batch-size": "16", "checkpoint-seconds": "0.5"},
            "evaluate": {"accuracy-threshold": "0"},
        },
    }
    client("s3").put_object(Bucket=DATA, Key=f"executions/{run}/run.json", Body=json.dumps(plan).encode())


def start(client: ClientFactory, run: str) -> str:
    started = client("ec2").run_instances(
        LaunchTemplate={"LaunchTemplateName": f"{NAME}-ec2"}, MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "run", "Value": run}]}],
    )  # fmt: skip
    return str(started["Instances"][0]["InstanceId"])


def state(client: ClientFactory, machine: str) -> str:
    reservations = client("ec2").describe_instances(InstanceIds=[machine])["Reservations"]
    return str(reservations[0]["Instances"][0]["State"]["Name"])


def text(client: ClientFactory, run: str, name: str) -> str:
    body = client("s3").get_object(Bucket=DATA, Key=f"executions/{run}/{name}")["Body"].read()
    return str(body.decode())


def log_of(aws: LocalAws, machine: str) -> str:
    path = aws.state_dir / "machines" / machine / "opt" / "log.txt"
    return path.read_text() if path.is_file() else ""


def interrupt(aws: LocalAws, machine: str) -> None:
    body = json.dumps({"InstanceId": machine}).encode()
    request = urllib.request.Request(f"{aws.endpoint_url}/_local/ec2/interrupt", data=body, method="POST")
    urllib.request.urlopen(request, timeout=10).close()


@pytest.mark.timeout(300)
def test_a_machine_that_spot_takes_back_saves_and_another_one_finishes(
    aws: LocalAws, client: ClientFactory, account: None
) -> None:
    write_plan(client, "ec2-taken", epochs=EPOCHS)
    first = start(client, "ec2-taken")
    until(lambda: "epoch=3 " in log_of(aws, first), seconds=120)
    interrupt(aws, first)
    until(lambda: state(client, first) == "terminated", seconds=60)
    status = json.loads(text(client, "ec2-taken", "status.json"))
    assert (status["state"], status["step"]) == ("reclaimed", "train")
    kept = client("s3").list_objects_v2(Bucket=DATA, Prefix="checkpoints/ec2-taken/")["Contents"]
    assert {item["Key"].split("/")[2] for item in kept} == {"embed", "train"}

    second = start(client, "ec2-taken")
    until(lambda: state(client, second) == "terminated", seconds=180)
    log = log_of(aws, second)
    assert json.loads(text(client, "ec2-taken", "status.json"))["state"] == "succeeded", log
    assert "parts=0" in log  # nothing was embedded twice
    assert "epoch=3 " not in log  # nor was an epoch trained twice
    made = {item["Key"] for item in client("s3").list_objects_v2(Bucket=MODELS, Prefix="executions/ec2-taken/")["Contents"]}
    assert {f"executions/ec2-taken/{name}" for name in (
        "train/model.tar.gz", "serving/model.tar.gz", "evaluation/evaluation.json", "evaluation/evaluation.html"
    )} <= made  # fmt: skip
    assert text(client, "ec2-taken", "log.txt")


def _code(client: ClientFactory, tmp_path: Path, name: str, files: dict[str, str]) -> str:
    """The training code with some files replaced, as an asset."""
    original = write_source_archive(tmp_path).path
    path = tmp_path / name
    with tarfile.open(original) as old, tarfile.open(path, "w:gz") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            data = files[member.name].encode() if member.name in files else content.read()
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    client("s3").upload_file(str(path), DATA, name)
    return name


def _run_with(client: ClientFactory, run: str, files: dict[str, str], tmp_path: Path, **limits: int) -> str:
    deploy_machines(client, code=_code(client, tmp_path, f"{run}.tar.gz", files), **limits)
    write_plan(client, run, epochs=1)
    machine = start(client, run)
    until(lambda: state(client, machine) == "terminated", seconds=90)
    return machine


def test_a_step_that_fails_says_why_and_the_machine_ends(
    aws: LocalAws, client: ClientFactory, account: None, tmp_path: Path
) -> None:
    broken = 'import sys; print("no photo can be read"); sys.exit(1)\n'
    _run_with(client, "ec2-broken", {"embed.py": broken}, tmp_path)
    status = json.loads(text(client, "ec2-broken", "status.json"))
    assert status["state"] == "failed"
    assert "embed" in status["reason"]
    assert "no photo can be read" in text(client, "ec2-broken", "log.txt")


def test_a_script_that_hangs_is_ended_by_its_limit(
    aws: LocalAws, client: ClientFactory, account: None, tmp_path: Path
) -> None:
    hanging = 'import time; print("hanging", flush=True); time.sleep(3600)\n'
    machine = _run_with(client, "ec2-hangs", {"spot_machine.py": hanging}, tmp_path, limit=2)
    assert "the run did not end well" in log_of(aws, machine)


def test_a_script_that_cannot_be_ended_goes_with_the_power(
    aws: LocalAws, client: ClientFactory, account: None, tmp_path: Path
) -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(3600)\n"
    machine = _run_with(client, "ec2-deaf", {"spot_machine.py": deaf}, tmp_path, brake=1)
    assert "gave up" not in log_of(aws, machine)


def test_without_its_code_the_machine_ends_and_leaves_a_log(
    aws: LocalAws, client: ClientFactory, account: None
) -> None:
    deploy_machines(client, code="nowhere.tar.gz")
    machine = start(client, "ec2-lost")
    until(lambda: state(client, machine) == "terminated", seconds=60)
    assert "the code could not be fetched" in log_of(aws, machine)
    found = client("s3").list_objects_v2(Bucket=DATA, Prefix="executions/machines/")["Contents"]
    assert found


def test_an_instance_of_other_user_data_stays_a_record(client: ClientFactory) -> None:
    client("ec2").create_launch_template(
        LaunchTemplateName="other",
        LaunchTemplateData={"ImageId": "ami-2", "UserData": base64.b64encode(b"#!/bin/bash\nreboot\n").decode()},
    )
    machine = start_of(client, "other")
    assert state(client, machine) == "running"
    client("ec2").terminate_instances(InstanceIds=[machine])


def start_of(client: ClientFactory, template: str) -> str:
    started = client("ec2").run_instances(LaunchTemplate={"LaunchTemplateName": template}, MinCount=1, MaxCount=1)
    return str(started["Instances"][0]["InstanceId"])
