"""Helpers for tests of hosting: a tiny image in the local registry, artefacts, models, endpoints."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from local_aws.images.builder import ImageBuilder
from local_aws.images.docker_cli import put_image
from local_aws.server import REGION, LocalAws
from tests.contract.conftest import ClientFactory

BUCKET = "models"
REPOSITORY = "tiny"
ROLE = "arn:aws:iam::123456789012:role/serving"
IMAGE_FOLDER = Path(__file__).parent / "tiny_image"


def docker(aws: LocalAws, *arguments: str | Path) -> str:
    """Run the docker stand-in as the CDK does; returns what it printed."""
    command = [aws.environment()["CDK_DOCKER"], *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | aws.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def push_image(aws: LocalAws, client: ClientFactory) -> str:
    """Build the tiny image and put it into the registry, without the commands' start-up time; returns its URI."""
    client("ecr").create_repository(repositoryName=REPOSITORY)
    put_image(client("ecr"), REPOSITORY, "1", ImageBuilder(IMAGE_FOLDER).build())
    return f"{aws.account}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}:1"


def put_artefact(client: ClientFactory, key: str, **behaviour: Any) -> str:
    """Store a model.tar.gz that makes the tiny server behave so; returns its URI."""
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    text = json.dumps({"name": key} | behaviour).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("behaviour.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    s3.put_object(Bucket=BUCKET, Key=f"{key}/model.tar.gz", Body=buffer.getvalue())
    return f"s3://{BUCKET}/{key}/model.tar.gz"


def create_config(client: ClientFactory, name: str, image: str, *, instances: int = 1, **behaviour: Any) -> str:
    """A model with that behaviour and an endpoint configuration of the same name; returns the name."""
    sagemaker = client("sagemaker")
    container = {"Image": image, "ModelDataUrl": put_artefact(client, name, **behaviour), "Environment": {"MODE": "x"}}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "primary",
        "ModelName": name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": instances,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


def wait_while(client: ClientFactory, endpoint: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
    """The endpoint's description once its status is none of these."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        description: dict[str, Any] = client("sagemaker").describe_endpoint(EndpointName=endpoint)
        if description["EndpointStatus"] not in statuses:
            return description
        time.sleep(0.05)
    raise AssertionError(f"{endpoint} is still {description['EndpointStatus']}")


def start_endpoint(client: ClientFactory, name: str, config: str) -> dict[str, Any]:
    """Create an endpoint and wait until it is no longer Creating."""
    client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config)
    return wait_while(client, name, "Creating")


def ask(client: ClientFactory, endpoint: str, body: bytes = b"photo", **options: Any) -> dict[str, Any]:
    """Invoke an endpoint; returns its decoded JSON answer."""
    reply = client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType="image/jpeg", **options
    )
    answer: dict[str, Any] = json.loads(reply["Body"].read())
    return answer
