"""A served model has no network, where SageMaker can take it away."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _serverless(assembly: Assembly) -> set[tuple[str, str]]:
    """Stack and logical id of the models that serverless endpoints run: SageMaker refuses to isolate those."""
    found = set()
    for config in assembly.of_type("AWS::SageMaker::EndpointConfig"):
        for variant in config.properties["ProductionVariants"]:
            name = variant.get("ModelName")
            if "ServerlessConfig" in variant and isinstance(name, dict):
                found.add((config.template.stack, name.get("Fn::GetAtt", [""])[0]))
    return found


def _find(assembly: Assembly) -> Iterator[Finding]:
    serverless = _serverless(assembly)
    for model in assembly.of_type("AWS::SageMaker::Model"):
        if (model.template.stack, model.logical_id) in serverless:
            continue
        if model.properties.get("EnableNetworkIsolation") is not True:
            yield Finding(model, "EnableNetworkIsolation", repr(model.properties.get("EnableNetworkIsolation")))


RULE = Rule(
    id="BV-ModelIsolation",
    why="A model that can reach the network can send photos out or fetch what a request tells it to.",
    fix="Set EnableNetworkIsolation to true.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/sagemaker-controls.html#sagemaker-5",
    find=_find,
)
