"""What an ml.* instance type is made of: processors, memory, GPUs. Sizes follow AWS's published tables."""

from __future__ import annotations

from dataclasses import dataclass

# vCPUs of a size; the sizes that the settings allow, and those the notebook way used.
_VCPUS = {"medium": 2, "large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "9xlarge": 36, "12xlarge": 48}
# GiB a vCPU, by the letter of the family; GPU families are listed whole.
_GIB_A_VCPU = {"c": 2.0, "m": 4.0}
_BURSTABLE_GIB = {"medium": 4.0, "large": 8.0, "xlarge": 16.0, "2xlarge": 32.0}
_GPUS = {"12xlarge": 4}
_P3_GIB = 61.0


@dataclass(frozen=True)
class Machine:
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
        """Whether its processors are only lent above a base share, so that a job slows down when its credit is used."""
        return self.family.startswith("t")

    @property
    def has_own_disk(self) -> bool:
        """Whether it comes with a disk, so that the volume of the request is not billed."""
        return self.family.startswith("g")


def machine(instance_type: str) -> Machine:
    """The machine behind a type such as `ml.m5.xlarge`.

    Raises:
        KeyError: nobody told this table about the size or the family.
    """
    family, size = instance_type.split(".")[-2:]
    vcpus = _VCPUS[size]
    if family.startswith("p"):
        return Machine(instance_type, vcpus, _P3_GIB, 1)
    if family.startswith("g"):
        return Machine(instance_type, vcpus, vcpus * 4.0, _GPUS.get(size, 1))
    memory = _BURSTABLE_GIB[size] if family.startswith("t") else vcpus * _GIB_A_VCPU[family[0]]
    return Machine(instance_type, vcpus, memory, 0)
