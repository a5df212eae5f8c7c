"""Machines that train together encrypt what they tell each other."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.jobs():
        if step.type in ("Training", "Tuning") and step.instance_count != 1:
            value = step.job.get("EnableInterContainerTrafficEncryption")
            if value is not True:
                yield Finding.in_step(step, "EnableInterContainerTrafficEncryption", repr(value))


RULE = Rule(
    id="BV-TrafficEncryption",
    why="Gradients between the machines of one job cross the network in the clear.",
    fix="Set EnableInterContainerTrafficEncryption to true wherever more than one instance can be asked for.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/train-encrypt.html",
    find=_find,
)
