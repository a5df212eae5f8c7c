"""Logs end some day."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for group in assembly.of_type("AWS::Logs::LogGroup"):
        if not group.properties.get("RetentionInDays"):
            yield Finding(group, "RetentionInDays", "absent")
    for function in assembly.of_type("AWS::Lambda::Function"):
        # Without a group of its own a function makes one that is kept for ever and that no stack removes.
        if "LogGroup" not in function.properties.get("LoggingConfig", {}):
            yield Finding(function, "LoggingConfig.LogGroup", "absent")


RULE = Rule(
    id="BV-LogRetention",
    why="Logs without an end grow the bill by themselves, and outlive the stack.",
    fix="Make log groups with BinventoryStack.log_group and hand them to the function.",
    link="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
    find=_find,
)
