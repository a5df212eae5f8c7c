"""What bills: it carries the tags of the budget, and machines of EC2 end by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule

REQUIRED = ("environment", "project", "deployment")
"""The budget counts by the last one."""
BILLED = (
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::Instance",
    "AWS::ECR::Repository",
    "AWS::KMS::Key",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
    "AWS::SageMaker::ModelPackageGroup",
    "AWS::SageMaker::Pipeline",
    "AWS::SNS::Topic",
)


def _tags(assembly: Assembly) -> Iterator[Finding]:
    for resource in assembly.of_type(*BILLED):
        if missing := _missing(resource.tags):
            yield Finding(resource, "Tags", f"without {missing}")
    for step in assembly.jobs():
        tags = {tag["Key"]: tag["Value"] for tag in step.arguments.get("Tags", [])}
        if missing := _missing(tags):
            yield Finding.in_step(step, "Tags", f"without {missing}")


def _missing(tags: dict[str, str]) -> str:
    return ", ".join(key for key in REQUIRED if not tags.get(key))


TAGS = Rule(
    id="BV-Tags",
    why="A resource without the tags is in no budget, and no list of leftovers shows it.",
    fix="Add the tags of Settings.all_tags; the jobs that a pipeline starts do not inherit them.",
    link="https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/cost-alloc-tags.html",
    find=_tags,
)


def _spot_machine(assembly: Assembly) -> Iterator[Finding]:
    templates = list(assembly.of_type("AWS::EC2::LaunchTemplate"))
    for template in templates:
        data = template.properties.get("LaunchTemplateData", {})
        for name, found, wanted in _held(data):
            if found != wanted:
                yield Finding(template, name, repr(found))
        for mapping in data.get("BlockDeviceMappings", ()):
            disk = mapping.get("Ebs", {})
            for name in ("Encrypted", "DeleteOnTermination"):
                if disk.get(name) is not True:
                    yield Finding(template, f"BlockDeviceMappings.Ebs.{name}", repr(disk.get(name)))
        if untagged := sorted({"instance", "volume"} - _tagged(data)):
            yield Finding(template, "TagSpecifications", f"no tag `deployment` on {', '.join(untagged)}")
    stacks = {template.template.stack for template in templates}
    for group in assembly.of_type("AWS::EC2::SecurityGroup"):
        if group.template.stack in stacks and group.properties.get("SecurityGroupIngress"):
            yield Finding(group, "SecurityGroupIngress", "present")


def _held(data: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    end = "InstanceInitiatedShutdownBehavior"
    yield end, data.get(end), "terminate"
    yield "MetadataOptions.HttpTokens", data.get("MetadataOptions", {}).get("HttpTokens"), "required"
    market = data.get("InstanceMarketOptions", {})
    yield "InstanceMarketOptions.MarketType", market.get("MarketType"), "spot"


def _tagged(data: dict[str, Any]) -> set[str]:
    """The kinds of resources that get the budget's tag when the machine starts: CloudFormation does not tag them."""
    return {
        specification["ResourceType"]
        for specification in data.get("TagSpecifications", ())
        if any(tag["Key"] == "deployment" for tag in specification["Tags"])
    }


SPOT_MACHINE = Rule(
    id="BV-SpotMachine",
    why="A machine that outlives its work bills until it is noticed; one with an open port can be taken over.",
    fix="Set shutdown to terminate, IMDSv2, spot, encrypted disks that go with the machine, all tags; no ingress.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-170",
    find=_spot_machine,
)

RULES = (TAGS, SPOT_MACHINE)
