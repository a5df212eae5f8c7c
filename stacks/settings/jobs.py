"""The jobs of the pipeline: machines, limits, spot capacity, and the numbers that they compute in."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.instances import JobInstance, computes_in_bf16, disk_gb, has_room_for
from stacks.settings.section import Section, wrong_setting


def supported_precision(precision: str, instance_type: str | None, machine: str, **names: Any) -> str:
    """The precision; refuses bf16 if the instance type, which is the value of the setting `machine`, lacks it."""
    if precision == "bf16" and instance_type is not None and not computes_in_bf16(instance_type):
        raise wrong_setting(
            "must not be bf16 with {machine} {instance_type}, which lacks it: c7i, m7i, g5 and g6 have it",
            machine=machine,
            instance_type=instance_type,
            **names,
        )
    return precision


class MachineSettings(Section):
    """The machine and the time limit of a job."""

    instance_type: JobInstance
    """Instance type."""
    volume_gb: int = Field(ge=10, le=1024)
    """Volume of each machine. An instance type with a local disk has that disk instead, which must be as large."""
    max_runtime_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """Time after which SageMaker stops the job."""

    @field_validator("volume_gb")
    @classmethod
    def _check_local_disk(cls, value: int, info: ValidationInfo) -> int:
        instance_type = info.data.get("instance_type")
        if instance_type is not None and not has_room_for(value, instance_type):
            raise wrong_setting(
                "must be at most {disk}: {instance_type} has a local disk of {disk} GB and no volume; lower it, or "
                "choose an instance_type with more disk",
                disk=disk_gb(instance_type),
                instance_type=instance_type,
            )
        return value


class JobSettings(MachineSettings):
    """The machines and the time limit of a job whose work can be shared."""

    instance_count: int = Field(default=1, ge=1, le=20)
    """Number of machines that share the work."""


class SpotJobSettings(JobSettings):
    """A training job that may run on managed spot."""

    spot: bool
    """Run on spot capacity, for about half of the price; a reclaimed job continues from its checkpoint."""
    max_wait_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """Limit of waiting and running together, for spot jobs."""

    @field_validator("max_wait_minutes")
    @classmethod
    def _check_wait(cls, value: int, info: ValidationInfo) -> int:
        runtime = info.data.get("max_runtime_minutes")
        if runtime is not None and value < runtime:
            raise wrong_setting(
                "must be at least max_runtime_minutes ({runtime}): the wait for spot capacity includes the run",
                runtime=runtime,
            )
        return value


class EmbedSettings(SpotJobSettings):
    """The job that runs the frozen backbone once over every photo."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the features; auto: bf16 (on a T4 fp16) if the machine's processor has it, else fp32."""

    @field_validator("precision")
    @classmethod
    def _check_precision(cls, value: str, info: ValidationInfo) -> str:
        return supported_precision(value, info.data.get("instance_type"), "instance_type")


class EvaluationSettings(MachineSettings):
    """The gate in front of the registry. One machine measures a model."""

    accuracy_threshold: float = Field(ge=0, le=1)
    """A model with a lower accuracy on the test split is refused."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of answers, in the evaluation and behind the endpoint; auto: int8 if it is as accurate as fp32, else
    fp32."""

    @field_validator("precision")
    @classmethod
    def _check_precision(cls, value: str, info: ValidationInfo) -> str:
        return supported_precision(value, info.data.get("instance_type"), "instance_type")
