"""Training on one EC2 spot instance instead of SageMaker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.instances import Ec2Instance
from stacks.settings.section import Section, SubnetId, distinct, matching, wrong_setting

VpcId = Annotated[str, matching(r"vpc-[0-9a-f]{8,17}", "the id of a VPC, such as vpc-0123456789abcdef0")]
ImageParameter = Annotated[
    str,
    matching(
        r"/aws/service/deeplearning/ami/x86_64/[\w.-]+/latest/ami-id",
        "the public parameter of an AMI, /aws/service/deeplearning/ami/x86_64/NAME/latest/ami-id",
    ),
]


class Ec2Settings(Section):
    """The optional EC2 stack. `binventory train --on ec2` starts machines from its launch template."""

    enabled: bool = False
    """Deploy the stack. The stack itself costs nothing."""
    instance_type: Ec2Instance = "m5.2xlarge"
    """Instance type. A GPU is used if the type has one. A T3 also bills CPU credits: it works from start to end."""
    image_parameter: ImageParameter = (
        "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.9-ubuntu-24.04/latest/ami-id"
    )
    """Public SSM parameter of the Deep Learning AMI with PyTorch, read when the stack is deployed."""
    volume_gb: int = Field(default=100, ge=75, le=1024)
    """Disk of the machine. The AMI alone needs most of 75 GB."""
    max_runtime_minutes: int = Field(default=180, ge=10, le=24 * 60)
    """Time after which a run is stopped. Its last checkpoint is saved."""
    vpc_id: VpcId | None = None
    """VPC of `subnet_ids`."""
    subnet_ids: tuple[SubnetId, ...] = Field(default=(), max_length=6, validate_default=True)
    """Public subnets of an existing VPC; empty: the stack creates a small VPC, which costs nothing."""

    @field_validator("subnet_ids")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(value, "a subnet")

    @field_validator("subnet_ids")
    @classmethod
    def _check_given_with_vpc(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if bool(value) != bool(info.data.get("vpc_id")):
            raise wrong_setting("and vpc_id must be set together: the security group belongs to the subnets' network")
        return value
