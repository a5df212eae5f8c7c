"""The synthesized EC2 stack in the local AWS: it deploys, starts an instance, and is deleted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from binventory.core.aws import connect
from binventory.ec2 import plan
from local_aws.server import LocalAws
from stacks.settings import load
from tests.conftest import NAMES
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import until
from tests.stacks.templates import changed, synthesize

NAME = "binventory-dev"


def _asked_of_storage(value: Any) -> Iterator[str]:
    """Names of the storage stack's exports that a template imports."""
    if isinstance(value, dict):
        if "Fn::ImportValue" in value:
            yield value["Fn::ImportValue"]
        for inner in value.values():
            yield from _asked_of_storage(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _asked_of_storage(inner)


def _deploy(client: ClientFactory, name: str, template: dict[str, Any]) -> None:
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=name, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})


def test_the_stack_deploys_and_starts_what_it_says(local_aws: LocalAws, client: ClientFactory) -> None:
    settings = changed(load("dev"), "ec2", enabled=True, instance_type="g5.xlarge", volume_gb=120)
    template = synthesize(settings)["Ec2"]
    buckets = {"DataBucketName": "machines-data", "ModelBucketName": "machines-models"}
    exports = {
        name.partition(":")[2]: {"Value": f"arn:aws:s3:::{name.partition(':')[2].lower()}", "Export": {"Name": name}}
        for name in _asked_of_storage(template)
    }
    handle = {"Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}
    outputs = exports | {name: {"Value": value} for name, value in buckets.items()}
    storage = {"Resources": handle, "Outputs": outputs}
    _deploy(client, f"{NAME}-storage", storage)
    _deploy(client, f"{NAME}-ec2", template)

    where = plan.place(connect(local_aws.environment()), NAMES)
    assert (where.instance_type, where.volume_gb, where.max_minutes) == ("g5.xlarge", 120, 180)
    assert len(where.subnet_ids) == 2
    groups = client("ec2").describe_security_groups(GroupIds=[where.security_group])["SecurityGroups"]
    assert groups[0]["IpPermissions"] == []
    launch = {"LaunchTemplateName": where.launch_template}
    (started,) = client("ec2").run_instances(LaunchTemplate=launch, MinCount=1, MaxCount=1)["Instances"]
    machine = client("ec2").describe_instances(InstanceIds=[started["InstanceId"]])["Reservations"][0]["Instances"][0]
    image = client("ssm").get_parameter(Name=settings.ec2.image_parameter)["Parameter"]["Value"]
    assert (machine["InstanceType"], machine["ImageId"]) == ("g5.xlarge", image)
    assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{NAME}-ec2")
    assert {tag["Key"] for tag in machine["Tags"]} >= {"deployment", "environment", "project"}

    # Its code is not there, so it ends by itself, as it must.
    script = (local_aws.state_dir / "machines" / machine["InstanceId"] / "user-data.sh").read_bytes()
    assert script.startswith(b"#!/bin/bash\nexport AWS_DEFAULT_REGION='us-east-1'\n")
    assert b"<" not in script.split(b"# Runs one training")[0]
    data = client("ec2").describe_launch_template_versions(LaunchTemplateName=where.launch_template)
    sent = data["LaunchTemplateVersions"][-1]["LaunchTemplateData"]["UserData"]
    assert base64.b64decode(sent) == script

    def state() -> str:
        found = client("ec2").describe_instances(InstanceIds=[machine["InstanceId"]])["Reservations"]
        return str(found[0]["Instances"][0]["State"]["Name"])

    until(lambda: state() == "terminated")
    client("cloudformation").delete_stack(StackName=f"{NAME}-ec2")
    client("cloudformation").get_waiter("stack_delete_complete").wait(
        StackName=f"{NAME}-ec2", WaiterConfig={"Delay": 0.2}
    )
    assert client("ec2").describe_launch_templates()["LaunchTemplates"] == []
    assert [vpc for vpc in client("ec2").describe_vpcs()["Vpcs"] if not vpc["IsDefault"]] == []
