"""The instance types and regions that settings allow. The price table covers all of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

CpuJobInstance = Literal[
    "ml.t3.medium",
    "ml.t3.large",
    "ml.t3.xlarge",
    "ml.t3.2xlarge",
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.m5.2xlarge",
    "ml.m5.4xlarge",
    "ml.m6i.large",
    "ml.m6i.xlarge",
    "ml.m6i.2xlarge",
    "ml.m6i.4xlarge",
    "ml.m7i.xlarge",
    "ml.m7i.2xlarge",
    "ml.m7i.4xlarge",
    "ml.c5.xlarge",
    "ml.c5.2xlarge",
    "ml.c5.4xlarge",
    "ml.c5.9xlarge",
    "ml.c6i.xlarge",
    "ml.c6i.2xlarge",
    "ml.c6i.4xlarge",
    "ml.c7i.xlarge",
    "ml.c7i.2xlarge",
    "ml.c7i.4xlarge",
]
# From Turing on: the training images come with CUDA 13, which has no code for the V100 of ml.p3
# (https://github.com/pytorch/pytorch/issues/172352).
GpuJobInstance = Literal[
    "ml.g4dn.xlarge",
    "ml.g4dn.2xlarge",
    "ml.g4dn.12xlarge",
    "ml.g5.xlarge",
    "ml.g5.2xlarge",
    "ml.g5.12xlarge",
    "ml.g6.xlarge",
    "ml.g6.2xlarge",
    "ml.g6.12xlarge",
]
JobInstance = Literal[CpuJobInstance, GpuJobInstance]
# For training on EC2: x86 types that run the Deep Learning AMI.
Ec2Instance = Literal[
    "t3.2xlarge", "m5.2xlarge", "c5.4xlarge", "c6i.4xlarge", "g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.xlarge"
]
# The serving image is built for x86 processors, so neither GPU nor Graviton types are offered.
ServingInstance = Literal[
    "ml.t2.medium",
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.m6i.large",
    "ml.m6i.xlarge",
    "ml.m7i.large",
    "ml.m7i.xlarge",
    "ml.c5.large",
    "ml.c5.xlarge",
    "ml.c5.2xlarge",
    "ml.c6i.large",
    "ml.c6i.xlarge",
    "ml.c6i.2xlarge",
    "ml.c7i.large",
    "ml.c7i.xlarge",
    "ml.c7i.2xlarge",
]
# Transform jobs run the same image, on the types that SageMaker offers for them.
BatchInstance = Literal[
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.m5.2xlarge",
    "ml.m5.4xlarge",
    "ml.m6i.large",
    "ml.m6i.xlarge",
    "ml.m6i.2xlarge",
    "ml.m6i.4xlarge",
    "ml.c5.xlarge",
    "ml.c5.2xlarge",
    "ml.c5.4xlarge",
    "ml.c6i.xlarge",
    "ml.c6i.2xlarge",
    "ml.c6i.4xlarge",
    "ml.c7i.xlarge",
    "ml.c7i.2xlarge",
    "ml.c7i.4xlarge",
]
# The regions whose training images AWS publishes from one account (see images.py), and whose CloudFormation knows every
# resource type of the stacks. In eu-north-1 it does not know AWS::Budgets::Budget.
Region = Literal[
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "sa-east-1",
]
# Families whose processors multiply bfloat16 in hardware: Sapphire Rapids, and GPUs since Ampere.
_BF16_FAMILIES = frozenset({"c7i", "m7i", "g5", "g6"})
# GB of the types with a local disk, as EC2 lists their instance stores. SageMaker attaches no volume to them, so it
# refuses one that is larger than the disk, and a key for one: the hardware encrypts the disk.
_DISKS_GB = {
    "ml.g4dn.xlarge": 125,
    "ml.g4dn.2xlarge": 225,
    "ml.g4dn.12xlarge": 900,
    "ml.g5.xlarge": 250,
    "ml.g5.2xlarge": 450,
    "ml.g5.12xlarge": 3800,
    "ml.g6.xlarge": 250,
    "ml.g6.2xlarge": 450,
    "ml.g6.12xlarge": 3760,
}
CPU_JOB_INSTANCES: tuple[str, ...] = get_args(CpuJobInstance)
GPU_JOB_INSTANCES: tuple[str, ...] = get_args(GpuJobInstance)
EC2_INSTANCES: tuple[str, ...] = get_args(Ec2Instance)
SERVING_INSTANCES: tuple[str, ...] = get_args(ServingInstance)
REGIONS: tuple[str, ...] = get_args(Region)


class Processor(StrEnum):
    """The processor that an instance type computes with. The training image must fit it."""

    CPU = "cpu"
    GPU = "gpu"

    @property
    def job_instances(self) -> tuple[str, ...]:
        """The job instance types of this kind."""
        return GPU_JOB_INSTANCES if self is Processor.GPU else CPU_JOB_INSTANCES


def computes_in_bf16(instance_type: str) -> bool:
    """Whether the processor of one of the instance types above has bfloat16."""
    return _family(instance_type) in _BF16_FAMILIES


def is_burstable(instance_type: str) -> bool:
    """Whether the type works above a base share of its processors only on credit, as T2 and T3 do."""
    return _family(instance_type).startswith("t")


def has_own_disk(instance_type: str) -> bool:
    """Whether one of the instance types above has a local disk instead of a volume."""
    return instance_type in _DISKS_GB


def has_room_for(volume_gb: int, instance_type: str) -> bool:
    """Whether one of the instance types above takes a request for a volume of this size, in GB."""
    return volume_gb <= _DISKS_GB.get(instance_type, volume_gb)


def disk_gb(instance_type: str) -> int | None:
    """GB of the local disk of one of the instance types above; None if it has a volume."""
    return _DISKS_GB.get(instance_type)


def processor_of(instance_type: str) -> Processor:
    """The processor of one of the job instance types above."""
    return Processor.GPU if instance_type in GPU_JOB_INSTANCES else Processor.CPU


def _family(instance_type: str) -> str:
    return instance_type.removeprefix("ml.").split(".")[0]
