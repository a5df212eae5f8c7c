"""A machine that is started from a launch template is closed, and ends itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
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
    """What the machine's start tags with the budget's tag: CloudFormation tags nothing that a template starts."""
    return {
        specification["ResourceType"]
        for specification in data.get("TagSpecifications", ())
        if any(tag["Key"] == "deployment" for tag in specification["Tags"])
    }


RULE = Rule(
    id="BV-SpotMachine",
    why="A machine that outlives its work bills until somebody looks; one with an open door can be taken over.",
    fix="Set shutdown to terminate, IMDSv2, spot, encrypted disks that go with the machine, all tags; no ingress.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-170",
    find=_find,
)
