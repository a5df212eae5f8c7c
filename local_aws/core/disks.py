"""Instance types with local disks: SageMaker attaches no volume to them, and refuses a key for one."""

from __future__ import annotations

from collections.abc import Iterable

from local_aws.core.errors import validation

# As SageMaker's SDK tells them apart (`volume_size_supported`): these families, and every one with a d in its name.
_WITH_DISK = ("g5", "g6", "g7e", "p5", "p6-b200", "trn1", "trn2")


def refuse_volume_key(key: str | None, instance_types: Iterable[str | None], member: str = "VolumeKmsKeyId") -> None:
    """Refuse a key for volumes where one of the instance types has a local disk instead."""
    named = sorted(name for name in instance_types if name and _has_own_disk(name))
    if key and named:
        raise validation(f"{member} is not supported for {', '.join(named)}, with a local disk instead of a volume")


def _has_own_disk(instance_type: str) -> bool:
    family = instance_type.removeprefix("ml.").partition(".")[0]
    return "d" in family or family.startswith(_WITH_DISK)
