"""The tables of images, regions and instance types agree with AWS's packages."""

from __future__ import annotations

from typing import get_args

import pytest
from botocore.model import StringShape
from botocore.session import get_session

from stacks.settings.instances import (
    CPU_JOB_INSTANCES,
    GPU_JOB_INSTANCES,
    REGIONS,
    SERVING_INSTANCES,
    Processor,
    processor_of,
)
from stacks.settings.training import FrameworkVersion
from stacks.shared.images import REPOSITORY, training_image


@pytest.mark.parametrize("version", get_args(FrameworkVersion))
def test_training_images_are_those_that_sagemaker_core_knows(version: FrameworkVersion) -> None:
    from sagemaker.core import image_uris  # three seconds, for every process that collects this file

    known = image_uris.config_for_framework("pytorch-amzn2023")["training"]["versions"][version]
    assert known["repository"] == REPOSITORY
    for instance_type, processor in (("ml.m5.xlarge", "cpu"), ("ml.g4dn.xlarge", "gpu")):
        tag = f"{known['tag_prefix']}-{known['container_version'][processor]}"
        for region in REGIONS:
            registry = f"{known['registries'][region]}.dkr.ecr.{region}.amazonaws.com"
            assert training_image(version, region, instance_type) == f"{registry}/{REPOSITORY}:{tag}"


def test_the_default_is_what_sagemaker_core_would_choose() -> None:
    """The table above is read as `sagemaker-core` itself reads it."""
    from sagemaker.core import image_uris

    chosen = image_uris.retrieve(
        "pytorch-amzn2023", "eu-west-1", version="2.13", instance_type="ml.g4dn.xlarge", image_scope="training"
    )
    assert training_image("2.13", "eu-west-1", "ml.g4dn.xlarge") == chosen


def _enum(shape: str) -> set[str]:
    found = get_session().get_service_model("sagemaker").shape_for(shape)
    assert isinstance(found, StringShape)
    return set(found.enum)


def test_instance_types_are_types_that_sagemaker_takes() -> None:
    for kind in ("TrainingInstanceType", "ProcessingInstanceType"):
        assert set(CPU_JOB_INSTANCES) | set(GPU_JOB_INSTANCES) <= _enum(kind)
    assert set(SERVING_INSTANCES) <= _enum("ProductionVariantInstanceType")


def test_processors() -> None:
    assert {processor_of(name) for name in CPU_JOB_INSTANCES} == {Processor.CPU}
    assert {processor_of(name) for name in GPU_JOB_INSTANCES} == {Processor.GPU}
    assert not set(CPU_JOB_INSTANCES) & set(GPU_JOB_INSTANCES)
