"""The network and the keys deploy in the local AWS, and are deleted."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
import pytest

from stacks.network.stack import NetworkStack
from stacks.settings import load
from stacks.shared.keys import Keys
from stacks.shared.stack import BinventoryStack
from tests.contract.stacked import Stack
from tests.stacks.conftest import ClientFactory
from tests.stacks.served import create_stack
from tests.stacks.templates import REPOSITORY, changed


def templates_alone(**other: str) -> dict[str, dict[str, Any]]:
    """The network stack, one that uses it, and one that has nothing but the keys, a topic and a log group."""
    settings = changed(changed(load("dev"), "training", weights="none"), "network", mode="create", **other)
    app = cdk.App(builtin_cloud_formation_validation=False)
    network = NetworkStack(app, "Network", settings=settings).network
    jobs = BinventoryStack(app, "Jobs", settings=settings, role="jobs", purpose="jobs")
    jobs.topic("Done", "cloudwatch.amazonaws.com")
    for number, used in enumerate((*network.subnet_ids, *network.security_group_ids)):
        cdk.CfnOutput(jobs, f"Used{number}", value=used)
    keys = BinventoryStack(app, "Keys", settings=settings, role="keys", purpose="keys")
    keys.keys = Keys(keys, "Own", prefix=settings.prefix, removal_policy=cdk.RemovalPolicy.DESTROY)
    keys.topic("Alerts", "cloudwatch.amazonaws.com")
    keys.log_group(keys, "Logs", "/aws/lambda/binventory-dev-keys")
    return {stack.id: stack.template for stack in app.synth().stacks}


@pytest.mark.parametrize("name", ["Network", "Keys"])
def test_it_is_made_and_removed_again(aws: ClientFactory, name: str) -> None:
    create_stack(aws, f"strict-{name}", templates_alone()[name])
    cloudformation = aws("cloudformation")
    made = cloudformation.describe_stack_resources(StackName=f"strict-{name}")["StackResources"]
    assert {item["ResourceStatus"] for item in made} == {"CREATE_COMPLETE"}
    if name == "Network":
        outputs = cloudformation.describe_stacks(StackName=f"strict-{name}")["Stacks"][0]["Outputs"]
        ids = {item["OutputKey"]: item["OutputValue"].split() for item in outputs}
        found = aws("ec2").describe_subnets(SubnetIds=ids["SubnetIds"])["Subnets"]
        assert {subnet["CidrBlock"] for subnet in found} == {"10.20.0.0/23", "10.20.2.0/23"}
        assert len({subnet["AvailabilityZone"] for subnet in found}) == 2
    cloudformation.delete_stack(StackName=f"strict-{name}")
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=f"strict-{name}", WaiterConfig={"Delay": 0.2, "MaxAttempts": 100}
    )


def test_other_addresses_take_two_deployments_as_the_docs_say(aws: ClientFactory) -> None:
    """Another block makes another VPC. Subnets that other stacks import cannot be exchanged below them."""
    name = "binventory-dev-network"
    network, jobs = Stack(aws, name), Stack(aws, "binventory-dev-jobs")
    before, after = (templates_alone(cidr=cidr) for cidr in ("10.20.0.0/22", "10.30.0.0/22"))
    assert network.create(before["Network"]) == "CREATE_COMPLETE", network.reasons()
    assert jobs.create(before["Jobs"]) == "CREATE_COMPLETE", jobs.reasons()
    assert network.update(after["Network"]) == "UPDATE_ROLLBACK_COMPLETE"
    refusal = "cannot be updated as it is in use by"
    assert refusal in network.reasons()
    # With network.mode none the other stacks import nothing, and the network stack is not touched.
    assert jobs.update(before["Jobs"] | {"Outputs": {}}) == "UPDATE_COMPLETE", jobs.reasons()
    assert network.update(after["Network"]) == "UPDATE_COMPLETE", network.reasons()
    assert jobs.update(after["Jobs"]) == "UPDATE_COMPLETE", jobs.reasons()
    subnets = aws("ec2").describe_subnets(SubnetIds=network.outputs()["SubnetIds"].split())["Subnets"]
    assert {subnet["CidrBlock"] for subnet in subnets} == {"10.30.0.0/23", "10.30.2.0/23"}
    jobs.delete()
    network.delete()
    documented = (REPOSITORY / "docs/operations.md").read_text()
    assert any("network.cidr" in line and refusal in line for line in documented.splitlines())


def test_the_network_policies_are_json_that_ec2_takes() -> None:
    for resource in templates_alone()["Network"]["Resources"].values():
        if resource["Type"] == "AWS::EC2::SecurityGroup":
            text = json.dumps(resource["Properties"])
            assert "'" not in text, "EC2 refuses apostrophes in descriptions"
