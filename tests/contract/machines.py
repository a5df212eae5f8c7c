"""Helpers for tests of EC2 instances: an account with shards and code, and instances that run."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from local_aws.server import LocalAws
from stacks.ec2.machine import USER_DATA
from stacks.shared.assets import write_source_archive
from tests.contract.conftest import ClientFactory
from tests.training_data import write_split

NAME, DATA, MODELS = "binventory-dev", "machines-data", "machines-models"
SPLITS = ("train", "validation", "test")


def fill_account(client: ClientFactory, folder: Path) -> None:
    """Buckets with shards and code, and the stacks' outputs."""
    for bucket in (DATA, MODELS):
        client("s3").create_bucket(Bucket=bucket)
    for number, (split, photos) in enumerate((("train", 60), ("validation", 25), ("test", 25))):
        for path in write_split(folder, split, photos, first=1000 * (number + 1)).iterdir():
            client("s3").upload_file(str(path), DATA, f"executions/first/ingest/{split}/{path.name}")
    client("s3").upload_file(str(write_source_archive(folder).path), DATA, "code.tar.gz")
    _create_stack(client, f"{NAME}-storage", {}, {"DataBucketName": DATA, "ModelBucketName": MODELS})
    deploy_machines(client)


def deploy_machines(
    client: ClientFactory, *, code: str = "code.tar.gz", minutes: int = 4, limit: int = 300, brake: int = 60
) -> None:
    """The stack that machines are started from, as CloudFormation makes it; deployed anew for other limits."""
    variables = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "CODE_URI": f"s3://{DATA}/{code}",
        "EXECUTIONS_URI": f"s3://{DATA}/executions",
        "MAX_MINUTES": str(minutes),
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
    aws.administer("ec2/interrupt", {"InstanceId": machine})
