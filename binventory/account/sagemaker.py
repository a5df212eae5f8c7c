"""SageMaker's things, those it makes outside CloudFormation among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from binventory.account.things import FREE, Kind, Look, Thing, command, entries, tags_of

_RUNNING = ("InProgress", "Stopping", "Starting")
# Kind of job: its name in API names and on the command line.
_JOBS = {
    "TrainingJob": "training-job",
    "ProcessingJob": "processing-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "TransformJob": "transform-job",
}


def _endpoints(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "sagemaker", "list_endpoints", "Endpoints"):
        name = raw["EndpointName"]
        yield Thing(
            "endpoint",
            name,
            raw["EndpointArn"],
            _endpoint_dollars(look, name),
            (command("aws", "sagemaker", "delete-endpoint", "--endpoint-name", name),),
        )


def _endpoint_dollars(look: Look, name: str) -> float | None:
    sagemaker = look.aws.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    running = {item["VariantName"]: item for item in endpoint.get("ProductionVariants", ())}
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    total = FREE
    for variant in config["ProductionVariants"]:
        instance_type = variant.get("InstanceType")
        if instance_type is None:
            continue  # serverless: bills by the request
        count = running.get(variant["VariantName"], {}).get("CurrentInstanceCount", variant["InitialInstanceCount"])
        month = look.instance_month(instance_type, count)
        if month is None:
            return None
        total += month
    return total


def _running_jobs(look: Look) -> Iterator[Thing]:
    for kind, words in _JOBS.items():
        operation = "list_" + words.replace("-", "_") + "s"
        key = f"{kind}Summaries"
        for raw in entries(look.aws, "sagemaker", operation, key):
            if raw[f"{kind}Status"] in _RUNNING:
                name, arn = raw[f"{kind}Name"], raw[f"{kind}Arn"]
                stop = command("aws", "sagemaker", f"stop-{words}", f"--{words}-name", name)
                # How long it runs on nobody knows; its limit ends it.
                yield Thing("running job", name, arn, None, (stop,), _tags(look, arn))


def _notebooks(look: Look) -> Iterator[Thing]:
    for raw in entries(look.aws, "sagemaker", "list_notebook_instances", "NotebookInstances"):
        name, instance_type = raw["NotebookInstanceName"], raw["InstanceType"]
        runs = raw["NotebookInstanceStatus"] == "InService"
        dollars = look.instance_month(instance_type)
        flag = ("--notebook-instance-name", name)
        yield Thing(
            "notebook",
            name,
            raw["NotebookInstanceArn"],
            dollars if runs else None,  # a stopped one still bills its volume
            (
                *((command("aws", "sagemaker", "stop-notebook-instance", *flag),) if runs else ()),
                command("aws", "sagemaker", "delete-notebook-instance", *flag),
            ),
        )


def _package_groups(look: Look) -> Iterator[Thing]:
    listed = entries(look.aws, "sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList")
    for raw in listed:
        name = raw["ModelPackageGroupName"]
        packages = entries(
            look.aws, "sagemaker", "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=name
        )
        yield Thing(
            "model package group",
            name,
            raw["ModelPackageGroupArn"],
            FREE,
            (
                *(
                    command("aws", "sagemaker", "delete-model-package", "--model-package-name", item["ModelPackageArn"])
                    for item in packages
                ),
                command("aws", "sagemaker", "delete-model-package-group", "--model-package-group-name", name),
            ),
        )


def _named(label: str, words: str, key: str, stem: str) -> Kind:
    """Things that bill nothing themselves and go by one call."""

    def find(look: Look) -> Iterator[Thing]:
        for raw in entries(look.aws, "sagemaker", f"list_{words.replace('-', '_')}s", key):
            name = raw[f"{stem}Name"]
            remove = command("aws", "sagemaker", f"delete-{words}", f"--{words}-name", name)
            yield Thing(label.removesuffix("s"), name, raw[f"{stem}Arn"], FREE, (remove,))

    return Kind(label, find)


def _tags(look: Look, arn: str) -> dict[str, str]:
    found: dict[str, Any] = look.aws.client("sagemaker").list_tags(ResourceArn=arn)
    return tags_of(found)


KINDS = (
    Kind("endpoints", _endpoints),
    _named("endpoint configs", "endpoint-config", "EndpointConfigs", "EndpointConfig"),
    _named("models", "model", "Models", "Model"),
    Kind("running jobs", _running_jobs),
    Kind("notebooks", _notebooks),
    _named("pipelines", "pipeline", "PipelineSummaries", "Pipeline"),
    Kind("model package groups", _package_groups),
)
