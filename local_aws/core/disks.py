"""Instance types with local disks: SageMaker attaches no volume to them.

It refuses a key for a volume there, and a volume that is larger than the disk.
"""

from __future__ import annotations

from collections.abc import Iterable

from local_aws.core.errors import validation
from local_aws.core.protocol import Document

# Families with local disks: every one with a d in its name, and these, by SageMaker's SDK (`volume_size_supported`) and
# EC2's DescribeInstanceTypes.
_WITH_DISK = ("g5", "g6", "g7", "p5", "p6", "trn1", "trn2")
# GB of the disks together, as DescribeInstanceTypes has them (`InstanceStorageInfo.TotalSizeInGB`). A type with a disk
# that is not here is not held to its size: of those that jobs may have, ml.p6e-gb200.36xlarge.
_SIZES_GB = {
    "g4dn": {"xlarge": 125, "2xlarge": 225, "4xlarge": 225, "8xlarge": 900, "12xlarge": 900, "16xlarge": 900},
    "g5": {
        "xlarge": 250,
        "2xlarge": 450,
        "4xlarge": 600,
        "8xlarge": 900,
        "12xlarge": 3800,
        "16xlarge": 1900,
        "24xlarge": 3800,
        "48xlarge": 7600,
    },
    "g6": {
        "xlarge": 250,
        "2xlarge": 450,
        "4xlarge": 600,
        "8xlarge": 900,
        "12xlarge": 3760,
        "16xlarge": 1880,
        "24xlarge": 3760,
        "48xlarge": 7520,
    },
    "g6e": {
        "xlarge": 250,
        "2xlarge": 450,
        "4xlarge": 600,
        "8xlarge": 900,
        "12xlarge": 3800,
        "16xlarge": 1900,
        "24xlarge": 3800,
        "48xlarge": 7600,
    },
    "g7": {"2xlarge": 440, "4xlarge": 875, "8xlarge": 930, "12xlarge": 1900, "24xlarge": 3800, "48xlarge": 7600},
    "g7e": {"2xlarge": 1900, "4xlarge": 1900, "8xlarge": 1900, "12xlarge": 3800, "24xlarge": 7600, "48xlarge": 15_200},
    "p3dn": {"24xlarge": 1800},
    "p4d": {"24xlarge": 8000},
    "p4de": {"24xlarge": 8000},
    "p5": {"4xlarge": 3800, "48xlarge": 30_400},
    "p5e": {"48xlarge": 30_400},
    "p5en": {"48xlarge": 30_400},
    "p6-b200": {"48xlarge": 30_400},
    "p6-b300": {"48xlarge": 30_400},
    "r5d": {
        "large": 75,
        "xlarge": 150,
        "2xlarge": 300,
        "4xlarge": 600,
        "8xlarge": 1200,
        "12xlarge": 1800,
        "16xlarge": 2400,
        "24xlarge": 3600,
    },
    "trn1": {"2xlarge": 474, "32xlarge": 7600},
    "trn1n": {"32xlarge": 7600},
    "trn2": {"48xlarge": 7600},
}


def refuse_volume_key(key: str | None, instance_types: Iterable[str | None], member: str = "VolumeKmsKeyId") -> None:
    """Refuse a key for volumes where one of the instance types has a local disk instead."""
    named = sorted(name for name in instance_types if name and _has_own_disk(name))
    if key and named:
        raise validation(f"{member} is not supported for {', '.join(named)}, with a local disk instead of a volume")


def refuse_larger_volume(size_gb: int | None, instance_types: Iterable[str | None]) -> None:
    """Refuse a VolumeSizeInGB above the local disk of one of the instance types."""
    for name in instance_types:
        disk = _size_gb(name)
        if size_gb is not None and disk is not None and size_gb > disk:
            raise validation(f"VolumeSizeInGB {size_gb} is greater than the local storage of {name}, {disk} GB")


def disk_gb(cluster: Document) -> int:
    """GB of each machine's disk: the local one of its instance type, else the volume of the request.

    Args:
        cluster: a ResourceConfig or a ClusterConfig.

    Returns:
        0 where the request gives 0, and the type has a disk of unknown size.
    """
    return _size_gb(cluster.get("InstanceType")) or int(cluster.get("VolumeSizeInGB", 1))


def _size_gb(instance_type: str | None) -> int | None:
    family, _, size = (instance_type or "").removeprefix("ml.").partition(".")
    return _SIZES_GB.get(family, {}).get(size)


def _has_own_disk(instance_type: str) -> bool:
    family = instance_type.removeprefix("ml.").partition(".")[0]
    return "d" in family or family.startswith(_WITH_DISK)
