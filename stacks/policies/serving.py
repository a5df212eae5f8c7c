"""The served model and its endpoint."""

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


def _model_isolation(assembly: Assembly) -> Iterator[Finding]:
    serverless = _serverless(assembly)
    for model in assembly.of_type("AWS::SageMaker::Model"):
        if (model.template.stack, model.logical_id) in serverless:
            continue
        if model.properties.get("EnableNetworkIsolation") is not True:
            yield Finding(model, "EnableNetworkIsolation", repr(model.properties.get("EnableNetworkIsolation")))


MODEL_ISOLATION = Rule(
    id="BV-ModelIsolation",
    why="A model that reaches the network can send photos out, or fetch an address from a request.",
    fix="Set EnableNetworkIsolation to true.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/sagemaker-controls.html#sagemaker-5",
    find=_model_isolation,
)


def _instance_count(assembly: Assembly) -> Iterator[Finding]:
    for config in assembly.of_type("AWS::SageMaker::EndpointConfig"):
        if config.tags.get("environment") != "prod":
            continue
        if "AsyncInferenceConfig" in config.properties:
            continue  # requests wait in a queue
        for variant in config.properties["ProductionVariants"]:
            count = variant.get("InitialInstanceCount")
            # Serverless variants have no instances to count.
            if "ServerlessConfig" not in variant and (count is None or count < 2):
                where = f"ProductionVariants[{variant['VariantName']}].InitialInstanceCount"
                yield Finding(config, where, repr(count))


INSTANCE_COUNT = Rule(
    id="BV-InstanceCount",
    why="One instance is in one availability zone: without that zone there is no endpoint.",
    fix="Set serving.min_instances to 2 or more in settings/prod.yaml.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/sagemaker-controls.html#sagemaker-4",
    find=_instance_count,
)

RULES = (MODEL_ISOLATION, INSTANCE_COUNT)
