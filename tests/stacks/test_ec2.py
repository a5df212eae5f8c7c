"""The EC2 stack: absent by default; else an instance closed to the outside that ends itself; nothing else bills."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from stacks.ec2.machine import USER_DATA
from stacks.policies.assembly import Assembly, Template
from stacks.policies.pack import all_rules
from stacks.settings import load
from tests.rights import Deployment, Request, allows
from tests.stacks.templates import (
    REPOSITORY,
    as_list,
    changed,
    flat,
    only,
    resources,
    statements,
    synthesize,
    templates,
)

NETWORK = {"vpc_id": "vpc-0123456789abcdef0", "subnet_ids": ["subnet-0123456789abcdef0"]}


@pytest.fixture(scope="module")
def stacks() -> dict[str, dict[str, Any]]:
    return synthesize(changed(load("dev"), "ec2", enabled=True, instance_type="g4dn.xlarge", max_runtime_minutes=90))


@pytest.fixture(scope="module")
def template(stacks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return stacks["Ec2"]


@pytest.fixture(scope="module")
def machine(template: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = only(template, "AWS::EC2::LaunchTemplate")["Properties"]["LaunchTemplateData"]
    return data


def test_nobody_gets_it_unasked() -> None:
    for environment in ("dev", "prod"):
        assert "Ec2" not in templates(environment)


def test_the_machine_is_spot_closed_and_ends_itself(machine: dict[str, Any], template: dict[str, Any]) -> None:
    assert machine["InstanceType"] == "g4dn.xlarge"
    assert machine["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }
    assert machine["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert machine["MetadataOptions"] == {
        "HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "enabled",
    }  # fmt: skip
    (disk,) = machine["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"] is disk["Ebs"]["DeleteOnTermination"] is True
    group = only(template, "AWS::EC2::SecurityGroup")["Properties"]
    assert "SecurityGroupIngress" not in group
    assert [(rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupEgress"]] == [(443, 443)]
    assert "KeyName" not in machine
    tagged = {item["ResourceType"]: {tag["Key"] for tag in item["Tags"]} for item in machine["TagSpecifications"]}
    assert set(tagged) == {"instance", "volume", "network-interface", "spot-instances-request"}
    assert all(keys >= {"deployment", "environment", "project"} for keys in tagged.values())


def test_a_burstable_machine_works_at_full_speed_whatever_the_account_has_as_default(machine: dict[str, Any]) -> None:
    assert "CreditSpecification" not in machine, "EC2 refuses it for other types"
    burstable = synthesize(changed(load("dev"), "ec2", enabled=True, instance_type="t3.2xlarge"))["Ec2"]
    data = only(burstable, "AWS::EC2::LaunchTemplate")["Properties"]["LaunchTemplateData"]
    assert data["CreditSpecification"] == {"CpuCredits": "unlimited"}


def test_the_image_is_looked_up_by_the_deployment_not_by_the_synthesis(
    machine: dict[str, Any], template: dict[str, Any]
) -> None:
    parameter = template["Parameters"][machine["ImageId"]["Ref"]]
    assert parameter["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    assert parameter["Default"] == load("dev").ec2.image_parameter
    assert not (REPOSITORY / "cdk.context.json").exists()


def test_the_user_data_is_the_tested_script_behind_its_variables(machine: dict[str, Any]) -> None:
    header, _, script = flat(machine["UserData"]["Fn::Base64"]).partition("# Runs one training")
    assert f"# Runs one training{script}" == USER_DATA.read_text()
    shebang, *exports = header.splitlines()
    assert shebang == "#!/bin/bash"
    values = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    assert values["MAX_MINUTES"] == "'90'"
    assert int(values["LIMIT_SECONDS"].strip("'")) > 90 * 60
    assert int(values["BRAKE_MINUTES"].strip("'")) * 60 > int(values["LIMIT_SECONDS"].strip("'"))
    assert values["EXECUTIONS_URI"].endswith("/executions'")
    # EC2 takes no more than 16 KB.
    assert len(header + script) < 12_000


def test_the_machines_role_works_on_executions_and_checkpoints_only(template: dict[str, Any]) -> None:
    allowed: dict[str, set[str]] = {}
    for _, statement in statements(template):
        for action in as_list(statement["Action"]):
            allowed.setdefault(action, set()).update(flat(resource) for resource in as_list(statement["Resource"]))
    assert set(allowed) == {
        "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject",
        "sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel",
        "sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages",
    }  # fmt: skip
    written = {resource.rsplit(">", 1)[-1] for resource in allowed["s3:PutObject"]}
    assert written == {"/executions/ec2-*/*", "/checkpoints/ec2-*/*"}, "nothing that a pipeline's execution has made"
    deleted = {resource.rsplit(">", 1)[-1] for resource in allowed["s3:DeleteObject"]}
    assert deleted == {"/checkpoints/ec2-*/train/step-*.safetensors"}, "older checkpoints of a run's training"
    trust = only(template, "AWS::IAM::Role")["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [item["Principal"] for item in trust] == [{"Service": "ec2.amazonaws.com"}]


def test_the_machine_may_write_where_its_script_does(stacks: dict[str, dict[str, Any]]) -> None:
    """Also the log of one that gives up before it knows its run."""
    (machine,) = [found for role, found in Deployment(stacks).roles().items() if role.startswith("Ec2.Machine")]
    addresses = re.findall(r'copy up \S+ "\$EXECUTIONS_URI/([^"]+)"', USER_DATA.read_text())
    assert addresses
    for key in addresses:
        name = key.replace("$(hostname)", "ip-10-20-0-7")
        request = Request("s3:PutObject", f"arn:aws:s3:::Storage.DataBucketE3889A50/executions/{name}")
        assert allows(machine, request), key


def test_nothing_in_it_bills(template: dict[str, Any]) -> None:
    billing = ("AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::EC2::Instance", "AWS::KMS::Key", "AWS::Logs::LogGroup")
    assert [kind for kind in billing if resources(template, kind)] == []
    (gateway,) = resources(template, "AWS::EC2::VPCEndpoint").values()
    assert gateway["Properties"]["VpcEndpointType"] == "Gateway"
    assert all(
        not item["Properties"]["MapPublicIpOnLaunch"] for item in resources(template, "AWS::EC2::Subnet").values()
    )


def test_a_network_of_ones_own_is_used_as_it_is() -> None:
    template = synthesize(changed(load("dev"), "ec2", enabled=True, **NETWORK))["Ec2"]
    assert not resources(template, "AWS::EC2::VPC")
    assert only(template, "AWS::EC2::SecurityGroup")["Properties"]["VpcId"] == NETWORK["vpc_id"]
    assert template["Outputs"]["SubnetIds"]["Value"] == NETWORK["subnet_ids"][0]


def test_our_own_policies_have_nothing_to_say(stacks: dict[str, dict[str, Any]]) -> None:
    assembly = Assembly([Template(name, REPOSITORY / f"{name}.template.json", body) for name, body in stacks.items()])
    assert [str(finding) for rule in all_rules() for finding in rule.find(assembly)] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"subnet_ids": ["subnet-0123456789abcdef0"]}, "vpc_id must be set together"),
        ({"vpc_id": "vpc-0123456789abcdef0", "subnet_ids": []}, "vpc_id must be set together"),
        ({"instance_type": "x1e.32xlarge"}, "t3.2xlarge"),
        ({"image_parameter": "/my/image"}, "must be the public parameter of an AMI"),
        ({"volume_gb": 8}, "greater than or equal to 75"),
        ({"max_runtime_minutes": 0}, "greater than or equal to 10"),
    ],
)
def test_what_cannot_work_is_refused_before_synthesis(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        changed(load("dev"), "ec2", **values)


def test_the_synthesis_is_the_same_every_time() -> None:
    settings = changed(load("dev"), "ec2", enabled=True)
    assert json.dumps(synthesize(settings)["Ec2"]) == json.dumps(synthesize(settings)["Ec2"])
