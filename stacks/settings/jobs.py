"""The jobs of the pipeline: machines, limits, spot capacity, and the numbers that they compute in."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.instances import JobInstance, computes_in_bf16
from stacks.settings.section import Section, wrong_setting


def had_by(precision: str, instance_type: str | None, machine: str, **names: Any) -> str:
    """The precision, unless it is bf16 and the instance type that the setting `machine` names lacks it."""
    if precision == "bf16" and instance_type is not None and not computes_in_bf16(instance_type):
        raise wrong_setting(
            "must not be bf16 with {machine} {instance_type}, which lacks it: c7i, m7i, g5 and g6 have it",
            machine=machine,
            instance_type=instance_type,
            **names,
        )
    return precision


class JobSettings(Section):
    """A job: its machines and its limit."""

    instance_type: JobInstance
    """The machine."""
    instance_count: int = Field(default=1, ge=1, le=20)
    """How many of them share the work."""
    volume_gb: int = Field(ge=10, le=1024)
    """Disk of each."""
    max_runtime_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """When the job is stopped, whatever it is doing."""


class SpotJobSettings(JobSettings):
    """A training job that may run on managed spot."""

    spot: bool
    """Run on spot capacity, for about half of the price; a reclaimed job continues from its checkpoint."""
    max_wait_minutes: int = Field(ge=5, le=5 * 24 * 60)
    """Time for waiting and running together; only spot jobs wait."""

    @field_validator("max_wait_minutes")
    @classmethod
    def _covers_the_run(cls, value: int, info: ValidationInfo) -> int:
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
    """Numbers that features are computed in; auto: bf16 (a T4: fp16) where the machine's processor has it."""

    @field_validator("precision")
    @classmethod
    def _had_by_the_machine(cls, value: str, info: ValidationInfo) -> str:
        return had_by(value, info.data.get("instance_type"), "instance_type")


class EvaluationSettings(JobSettings):
    """The gate in front of the registry."""

    accuracy_threshold: float = Field(ge=0, le=1)
    """Accuracy on the test split below which a model is refused."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers that answers are computed in, in evaluation and behind the endpoint; auto: int8 where it is as good as
    fp32, else fp32."""

    @field_validator("precision")
    @classmethod
    def _had_by_the_machine(cls, value: str, info: ValidationInfo) -> str:
        return had_by(value, info.data.get("instance_type"), "instance_type")
