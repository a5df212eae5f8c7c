"""A served model has no network."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for model in assembly.of_type("AWS::SageMaker::Model"):
        if model.properties.get("EnableNetworkIsolation") is not True:
            yield Finding(model, "EnableNetworkIsolation", repr(model.properties.get("EnableNetworkIsolation")))


RULE = Rule(
    id="BV-ModelIsolation",
    why="A model that can reach the network can send photos out or fetch what a request tells it to.",
    fix="Set EnableNetworkIsolation to true.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/sagemaker-controls.html#sagemaker-5",
    find=_find,
)
