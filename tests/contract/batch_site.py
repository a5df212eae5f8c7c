"""A serving stack with the outputs that transform jobs need, and a tiny model that counts photos of words."""

from __future__ import annotations

import json
from typing import Any

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.serving import ROLE, push_image, put_artefact

BUCKET = "batch-photos"
DATA = "batch-data"
TAGS = {"cost-centre": "4711", "deployment": "binventory-dev", "environment": "dev", "project": "binventory"}
"""Of the stack, as `Settings.all_tags` writes them with one tag of the settings."""


def photo_that_says(count: int) -> bytes:
    """A photo that the tiny server counts so."""
    return f"count {count}".encode()


def set_up(aws: LocalAws, client: ClientFactory, *, seconds: float = 0.0) -> str:
    """Buckets, an approved model package and the stack; returns the package's ARN."""
    for bucket in (BUCKET, DATA):
        client("s3").create_bucket(Bucket=bucket)
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="binventory-dev")
    container = {
        "Image": push_image(aws, client),
        "ModelDataUrl": put_artefact(client, "counter", seconds=seconds, counts=[1, 2, 3, 4, 5]),
    }
    package: str = sagemaker.create_model_package(
        ModelPackageGroupName="binventory-dev",
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
        },
    )["ModelPackageArn"]
    outputs = {
        "BatchRoleArn": ROLE,
        "BatchOutputUri": f"s3://{DATA}/batch/",
        "BatchInstanceType": "ml.m5.xlarge",
        "BatchInstanceCount": "1",
        "BatchPhotosUris": f"s3://{BUCKET}/ s3://elsewhere/bins/",
    }
    template: dict[str, Any] = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    cloudformation = client("cloudformation")
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    cloudformation.create_stack(StackName="binventory-dev-serving", TemplateBody=json.dumps(template), Tags=tags)
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="binventory-dev-serving", WaiterConfig={"Delay": 1}
    )
    return package
