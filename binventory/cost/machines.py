"""What an ml.* instance type is made of: processors, memory, GPUs. Sizes follow AWS's published tables."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.core.errors import Exit, Problem

_VCPUS = {
    "medium": 2,
    "large": 2,
    "xlarge": 4,
    "2xlarge": 8,
    "4xlarge": 16,
    "8xlarge": 32,
    "9xlarge": 36,
    "12xlarge": 48,
    "16xlarge": 64,
    "18xlarge": 72,
    "24xlarge": 96,
}
# GiB a vCPU, by the letter of the family.
_GIB_A_VCPU = {"c": 2.0, "m": 4.0, "r": 8.0, "g": 4.0}
_BURSTABLE_GIB = {"medium": 4.0, "large": 8.0, "xlarge": 16.0, "2xlarge": 32.0}
# The share of its processors that the price of a T3 machine holds.
_T3_SHARE = {"medium": 0.2, "large": 0.3, "xlarge": 0.4, "2xlarge": 0.4}
_GPUS = {"12xlarge": 4}
_P3_GIB = 61.0


@dataclass(frozen=True)
class InstanceType:
    """An instance type."""

    instance_type: str
    vcpus: int
    memory_gib: float
    gpus: int

    @property
    def family(self) -> str:
        """`m5` of `ml.m5.xlarge`."""
        return self.instance_type.split(".")[-2]

    @property
    def burstable(self) -> bool:
        """Whether it works above a base share of its processors only on credit, so that a long job slows down."""
        return self.family.startswith("t")

    @property
    def credit_vcpus(self) -> float:
        """vCPUs of a T3 machine at full load that its price does not hold, and that bill as surplus CPU credits."""
        if self.family != "t3":
            return 0.0
        return self.vcpus * (1 - _T3_SHARE[self.instance_type.rpartition(".")[2]])

    @property
    def has_own_disk(self) -> bool:
        """Whether it comes with a disk, so that the volume of the request is not billed."""
        return self.family.startswith("g")


def machine(instance_type: str) -> InstanceType:
    """The machine behind a type such as `ml.m5.xlarge`.

    Raises:
        Problem: the table lacks the size or the family.
    """
    family, size = instance_type.split(".")[-2:]
    vcpus, letter = _VCPUS.get(size), family[:1]
    if instance_type.endswith("p3.2xlarge"):
        return InstanceType(instance_type, 8, _P3_GIB, 1)
    if letter == "t" and size in _BURSTABLE_GIB:
        return InstanceType(instance_type, _VCPUS[size], _BURSTABLE_GIB[size], 0)
    if vcpus is None or letter not in _GIB_A_VCPU:
        raise Problem(
            f"Nothing is known about {instance_type}",
            "its size or family is not in the table of machines",
            "choose one of the types that the settings allow, or add it to binventory/cost/machines.py",
            code=Exit.USAGE,
        )
    gpus = _GPUS.get(size, 1) if letter == "g" else 0
    return InstanceType(instance_type, vcpus, vcpus * _GIB_A_VCPU[letter], gpus)
