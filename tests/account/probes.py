"""Asks AWS what its documentation leaves open. Each answer is a finding, whichever it is."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_message
from binventory.core.names import Names
from tests.account.options import PROBE_MINUTES

OCI: Final = "application/vnd.oci.image."
_MANIFESTS: Final = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
# SageMaker allows 256 characters for each word of an entry point.
_MAP: Final = (
    "import glob,mmap,os;p=[x for x in glob.glob('/opt/ml/input/data/**',recursive=True)"
    "if os.path.isfile(x)and os.path.getsize(x)][0];print('mapped',len(mmap.mmap(os.open(p,0),0,prot=1)[:9]))"
)


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    question: str
    good: bool
    """Whether the system works with this answer."""
    answer: str


def package_of(aws: Aws, package: str) -> dict[str, Any]:
    """The description of a model package."""
    found: dict[str, Any] = aws.client("sagemaker").describe_model_package(ModelPackageName=package)
    return found


def manifest(aws: Aws, package: str) -> Finding:
    """The kind of manifest that Docker pushed: SageMaker refuses OCI's."""
    image = package_of(aws, package)["InferenceSpecification"]["Containers"][0]["Image"]
    repository, _, tag = image.split("/", 1)[1].partition("@" if "@" in image else ":")
    wanted = {"imageDigest" if "@" in image else "imageTag": tag}
    found = aws.client("ecr").batch_get_image(
        repositoryName=repository, imageIds=[wanted], acceptedMediaTypes=list(_MANIFESTS)
    )["images"]
    kind = str(found[0].get("imageManifestMediaType", "")) if found else ""
    return Finding(
        "The serving image's manifest is not of OCI", bool(kind) and not kind.startswith(OCI), kind or "none was found"
    )


def registration(aws: Aws, package: str) -> Finding:
    """Whether the pipeline's role could register the model, for which SageMaker resolves the image."""
    described = package_of(aws, package)
    digest = described["InferenceSpecification"]["Containers"][0].get("ImageDigest", "without a digest of the image")
    status = described.get("ModelPackageStatus", "")
    return Finding("The pipeline's role may register a model", status == "Completed", f"{status}, {digest}")


def after_rollback(aws: Aws, names: Names, good: str, served: str) -> Finding:
    """Whether what the endpoint went back to still exists, and how CloudFormation ended its update."""
    sagemaker = aws.client("sagemaker")
    status = aws.client("cloudformation").describe_stacks(StackName=names.serving_stack)["Stacks"][0]["StackStatus"]
    configuration = sagemaker.describe_endpoint(EndpointName=names.prefix)["EndpointConfigName"]
    try:
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"]
        for variant in variants:
            sagemaker.describe_model(ModelName=variant["ModelName"])
        there = "its configuration and its model exist"
    except ClientError as error:
        there = error_message(error)
        good = ""
    return Finding(
        "After an automatic rollback the old model serves", served == good, f"the stack is {status}; {there}"
    )


def mapped_file(aws: Aws, names: Names, training_job: str) -> Finding:
    """Whether a program can map a file of a FastFile channel into memory; starts a job like Train for it."""
    sagemaker = aws.client("sagemaker")
    like = sagemaker.describe_training_job(TrainingJobName=training_job)
    name = f"{names.prefix}-mapping-{uuid.uuid4().hex[:8]}"
    limit = PROBE_MINUTES * 60
    stopping = {"MaxRuntimeInSeconds": limit}
    if spot := like.get("EnableManagedSpotTraining", False):
        stopping["MaxWaitTimeInSeconds"] = 4 * limit
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": like["AlgorithmSpecification"]["TrainingImage"],
            "TrainingInputMode": "FastFile",
            "ContainerEntrypoint": ["python3", "-c", _MAP],
        },
        "RoleArn": like["RoleArn"],
        "InputDataConfig": [
            {"ChannelName": "features", "DataSource": channel["DataSource"], "InputMode": "FastFile"}
            for channel in like["InputDataConfig"][:1]
        ],
        "OutputDataConfig": {
            key: value for key, value in like["OutputDataConfig"].items() if key in {"S3OutputPath", "KmsKeyId"}
        },
        "ResourceConfig": {**like["ResourceConfig"], "InstanceCount": 1},
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": spot,
        **({"VpcConfig": like["VpcConfig"]} if "VpcConfig" in like else {}),
        "Tags": [{"Key": "deployment", "Value": names.prefix}],
    }
    sagemaker.create_training_job(**request)
    while True:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        if job["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}:
            break
        time.sleep(0.5 if aws.is_local else 10)
    answer = "yes" if job["TrainingJobStatus"] == "Completed" else f"no: {job.get('FailureReason', 'it was stopped')}"
    # Jobs of the pipeline have read their channels in this account already, so either answer is good.
    return Finding("A file of a FastFile channel can be mapped", True, answer)
