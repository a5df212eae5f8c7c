"""Which model package serves today, asked of SageMaker alone: a network without a way out needs no other endpoint."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.exceptions import ClientError

# In every other state nothing answers requests.
_ANSWERING = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})


class NoPackageError(Exception):
    """The endpoint serves something that is no model package, or that may not be looked at."""


def serving_package(endpoint: str) -> str | None:
    """ARN of the package behind an endpoint's requests; None where nothing answers them.

    While an endpoint is updated it is the package before the update.

    Raises:
        NoPackageError: what serves is no model package.
        botocore.exceptions.ClientError: the endpoint cannot be looked up.
    """
    sagemaker = boto3.client("sagemaker")
    try:
        found = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in str(error):
            return None
        raise
    if found["EndpointStatus"] not in _ANSWERING:
        return None
    configuration = found["EndpointConfigName"]
    try:
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"]
        model = sagemaker.describe_model(ModelName=variants[0]["ModelName"])
    except ClientError as error:
        raise NoPackageError(f"endpoint {endpoint} serves configuration {configuration}: {error}") from error
    package = _package_of(model)
    if package is None:
        raise NoPackageError(f"endpoint {endpoint} serves model {model['ModelName']}, which is no model package")
    return package


def newest_approved(group: str) -> str | None:
    """ARN of the newest approved package of a group; None without one."""
    found = boto3.client("sagemaker").list_model_packages(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending",
        MaxResults=1,
    )["ModelPackageSummaryList"]  # fmt: skip
    return str(found[0]["ModelPackageArn"]) if found else None


def _package_of(model: dict[str, Any]) -> str | None:
    for container in model.get("Containers") or [model.get("PrimaryContainer", {})]:
        if package := container.get("ModelPackageName"):
            return str(package)
    return None
