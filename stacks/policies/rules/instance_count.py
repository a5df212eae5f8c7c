"""An endpoint in prod survives the loss of a machine."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for config in assembly.of_type("AWS::SageMaker::EndpointConfig"):
        if config.tags.get("environment") != "prod":
            continue
        if "AsyncInferenceConfig" in config.properties:
            continue  # requests wait in a queue for the next machine
        for variant in config.properties["ProductionVariants"]:
            count = variant.get("InitialInstanceCount")
            # Serverless variants have no instances to count.
            if "ServerlessConfig" not in variant and (count is None or count < 2):
                where = f"ProductionVariants[{variant['VariantName']}].InitialInstanceCount"
                yield Finding(config, where, repr(count))


RULE = Rule(
    id="BV-InstanceCount",
    why="One instance is one availability zone: its loss is the endpoint's.",
    fix="Set serving.min_instances to 2 or more in settings/prod.yaml.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/sagemaker-controls.html#sagemaker-4",
    find=_find,
)
