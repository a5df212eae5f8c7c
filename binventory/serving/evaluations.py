"""The model package behind an endpoint, and the address of the evaluation that is registered with it."""

from __future__ import annotations

from typing import Any

from binventory.core.aws import Aws


def package_behind(aws: Aws, endpoint: str) -> str:
    """ARN of the model package that an endpoint serves, as SageMaker describes it; "" where its model is no package.

    Raises ClientError when the endpoint cannot be looked up.
    """
    sagemaker = aws.client("sagemaker")
    configuration = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"][0]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    containers: list[dict[str, Any]] = model.get("Containers") or [model.get("PrimaryContainer", {})]
    return next((str(package) for each in containers if (package := each.get("ModelPackageName"))), "")


def evaluation_address(aws: Aws, package: str) -> str:
    """`s3://` address of a package's evaluation.json; "" where none is registered. Raises ClientError."""
    described = aws.client("sagemaker").describe_model_package(ModelPackageName=package)
    quality = described.get("ModelMetrics", {}).get("ModelQuality", {})
    return str(quality.get("Statistics", {}).get("S3Uri", ""))
