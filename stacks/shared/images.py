"""AWS's PyTorch training images. A test compares this table with the list in `sagemaker-core`."""

from __future__ import annotations

from stacks.settings.instances import Processor, processor_of
from stacks.settings.training import FrameworkVersion

REGISTRY_ACCOUNT = "763104351884"
REPOSITORY = "pytorch"
# The tag of a GPU image names its CUDA release, which does not follow from the framework's version.
TAGS: dict[FrameworkVersion, dict[Processor, str]] = {
    "2.11": {Processor.CPU: "2.11-cpu-amzn2023-sagemaker", Processor.GPU: "2.11-cu130-amzn2023-sagemaker"},
    "2.12": {Processor.CPU: "2.12-cpu-amzn2023-sagemaker", Processor.GPU: "2.12-cu130-amzn2023-sagemaker"},
    "2.13": {Processor.CPU: "2.13-cpu-amzn2023-sagemaker", Processor.GPU: "2.13-cu133-amzn2023-sagemaker"},
}


def training_image(version: FrameworkVersion, region: str, instance_type: str) -> str:
    """The registry address of the image that fits an instance type's processor."""
    tag = TAGS[version][processor_of(instance_type)]
    return f"{REGISTRY_ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{REPOSITORY}:{tag}"
