"""Lists SageMaker's resources, including those that it makes outside CloudFormation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from binventory.account.resources import (
    FREE,
    AccountReader,
    AccountResource,
    ResourceKind,
    all_unless_gone,
    command,
    entries,
    tags_of,
    unless_gone,
)
from binventory.core.aws import Aws

_RUNNING = ("InProgress", "Stopping", "Starting")
# Kind of job: its name in API names and on the command line.
_JOBS = {
    "TrainingJob": "training-job",
    "ProcessingJob": "processing-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "TransformJob": "transform-job",
}


def _endpoints(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "sagemaker", "list_endpoints", "Endpoints"):
        name = raw["EndpointName"]
        endpoint = unless_gone(partial(reader.aws.client("sagemaker").describe_endpoint, EndpointName=name))
        if endpoint is None:
            continue
        yield AccountResource(
            "endpoint",
            name,
            raw["EndpointArn"],
            _endpoint_dollars(reader, endpoint),
            (command("aws", "sagemaker", "delete-endpoint", "--endpoint-name", name),),
        )


def _endpoint_dollars(reader: AccountReader, endpoint: Mapping[str, Any]) -> float | None:
    running = {item["VariantName"]: item for item in endpoint.get("ProductionVariants", ())}
    config = config_of(reader.aws, endpoint["EndpointConfigName"])
    if config is None:
        return None
    total = FREE
    for variant in config["ProductionVariants"]:
        instance_type = variant.get("InstanceType")
        if instance_type is None:
            continue  # serverless: bills by the request
        count = running.get(variant["VariantName"], {}).get("CurrentInstanceCount", variant["InitialInstanceCount"])
        month = reader.instance_month(instance_type, count)
        if month is None:
            return None
        total += month
    return total


def config_of(aws: Aws, name: str) -> dict[str, Any] | None:
    """An endpoint configuration; None where it was deleted, as SageMaker allows while its endpoint runs."""
    return unless_gone(partial(aws.client("sagemaker").describe_endpoint_config, EndpointConfigName=name))


def _running_jobs(reader: AccountReader) -> Iterator[AccountResource]:
    for kind, words in _JOBS.items():
        operation = "list_" + words.replace("-", "_") + "s"
        key = f"{kind}Summaries"
        for raw in entries(reader.aws, "sagemaker", operation, key):
            if raw[f"{kind}Status"] in _RUNNING:
                name, arn = raw[f"{kind}Name"], raw[f"{kind}Arn"]
                stop = command("aws", "sagemaker", f"stop-{words}", f"--{words}-name", name)
                # Its remaining time is unknown; its limit ends it.
                yield AccountResource("running job", name, arn, None, (stop,), _tags(reader, arn))


def _notebooks(reader: AccountReader) -> Iterator[AccountResource]:
    for raw in entries(reader.aws, "sagemaker", "list_notebook_instances", "NotebookInstances"):
        name, instance_type = raw["NotebookInstanceName"], raw["InstanceType"]
        runs = raw["NotebookInstanceStatus"] == "InService"
        dollars = reader.instance_month(instance_type)
        flag = ("--notebook-instance-name", name)
        yield AccountResource(
            "notebook",
            name,
            raw["NotebookInstanceArn"],
            dollars if runs else None,  # a stopped one still bills its volume
            (
                *((command("aws", "sagemaker", "stop-notebook-instance", *flag),) if runs else ()),
                command("aws", "sagemaker", "delete-notebook-instance", *flag),
            ),
        )


def _package_groups(reader: AccountReader) -> Iterator[AccountResource]:
    listed = entries(reader.aws, "sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList")
    for raw in listed:
        name = raw["ModelPackageGroupName"]
        found = entries(
            reader.aws, "sagemaker", "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=name
        )
        packages = all_unless_gone(found)
        if packages is None:
            continue
        yield AccountResource(
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


def _named(label: str, words: str, key: str, stem: str) -> ResourceKind:
    """Resources that cost nothing and are deleted by one call."""

    def find(reader: AccountReader) -> Iterator[AccountResource]:
        for raw in entries(reader.aws, "sagemaker", f"list_{words.replace('-', '_')}s", key):
            name = raw[f"{stem}Name"]
            remove = command("aws", "sagemaker", f"delete-{words}", f"--{words}-name", name)
            yield AccountResource(label.removesuffix("s"), name, raw[f"{stem}Arn"], FREE, (remove,))

    return ResourceKind(label, find)


def _tags(reader: AccountReader, arn: str) -> dict[str, str]:
    found: dict[str, Any] = reader.aws.client("sagemaker").list_tags(ResourceArn=arn)
    return tags_of(found)


KINDS = (
    ResourceKind("endpoints", _endpoints),
    _named("endpoint configs", "endpoint-config", "EndpointConfigs", "EndpointConfig"),
    _named("models", "model", "Models", "Model"),
    ResourceKind("running jobs", _running_jobs),
    ResourceKind("notebooks", _notebooks),
    _named("pipelines", "pipeline", "PipelineSummaries", "Pipeline"),
    ResourceKind("model package groups", _package_groups),
)
