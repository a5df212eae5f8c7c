"""The pipeline's parameters, with the settings as their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from stacks import names
from stacks.backbones import BACKBONES
from stacks.pipeline.expressions import Parameter, ParameterType
from stacks.settings import Settings
from stacks.settings.instances import CPU_JOB_INSTANCES, has_own_disk, has_room_for, processor_of
from stacks.settings.jobs import JobSettings

SETTINGS: Final[Mapping[str, str]] = {
    names.PHOTOS_URI: "data.photos_uri",
    names.LABELS_URI: "data.labels_uri",
    names.LIMIT_PER_CLASS: "data.limit_per_class",
    names.STRATEGY: "training.strategy",
    names.BACKBONE: "training.backbone",
    names.WEIGHTS: "training.weights",
    names.VIEWS: "training.views",
    names.EPOCHS: "training.epochs",
    names.SEED: "training.seed",
    names.ACCURACY_THRESHOLD: "evaluation.accuracy_threshold",
    names.TUNING_JOBS: "tuning.jobs",
    names.TUNING_PARALLEL_JOBS: "tuning.parallel_jobs",
    names.INGEST_INSTANCE_TYPE: "ingest.instance_type",
    names.INGEST_INSTANCE_COUNT: "ingest.instance_count",
    names.EMBED_INSTANCE_TYPE: "embed.instance_type",
    names.TRAINING_INSTANCE_TYPE: "training.instance_type",
    names.TRAINING_INSTANCE_COUNT: "training.instance_count",
    names.EVALUATE_INSTANCE_TYPE: "evaluation.instance_type",
}
"""The setting that is the default of each parameter. A value of the parameter is held to what the setting may be."""


@dataclass(frozen=True)
class Parameters:
    """The parameters. An execution can set each of them."""

    photos_uri: Parameter
    labels_uri: Parameter
    fresh: Parameter
    limit_per_class: Parameter
    strategy: Parameter
    backbone: Parameter
    weights: Parameter
    views: Parameter
    epochs: Parameter
    seed: Parameter
    accuracy_threshold: Parameter
    tuning_jobs: Parameter
    tuning_parallel_jobs: Parameter
    ingest_instance_type: Parameter
    ingest_instance_count: Parameter
    embed_instance_type: Parameter
    training_instance_type: Parameter
    training_instance_count: Parameter
    evaluate_instance_type: Parameter

    @classmethod
    def of(cls, settings: Settings) -> Parameters:
        """The parameters with their defaults and allowed values."""
        return cls(
            photos_uri=_text(settings, names.PHOTOS_URI),
            labels_uri=_text(settings, names.LABELS_URI),
            fresh=Parameter(names.FRESH, ParameterType.STRING, "none"),
            limit_per_class=_integer(settings, names.LIMIT_PER_CLASS),
            strategy=_text(settings, names.STRATEGY, "head", "full"),
            backbone=_text(settings, names.BACKBONE, *BACKBONES),
            weights=_text(settings, names.WEIGHTS),
            views=_integer(settings, names.VIEWS),
            epochs=_integer(settings, names.EPOCHS),
            seed=_integer(settings, names.SEED),
            accuracy_threshold=Parameter(
                names.ACCURACY_THRESHOLD, ParameterType.FLOAT, _setting(settings, names.ACCURACY_THRESHOLD)
            ),
            tuning_jobs=_integer(settings, names.TUNING_JOBS),
            tuning_parallel_jobs=_integer(settings, names.TUNING_PARALLEL_JOBS),
            ingest_instance_type=_text(settings, names.INGEST_INSTANCE_TYPE, *CPU_JOB_INSTANCES),
            ingest_instance_count=_integer(settings, names.INGEST_INSTANCE_COUNT),
            embed_instance_type=_text(settings, names.EMBED_INSTANCE_TYPE, *_like(settings, settings.embed)),
            training_instance_type=_text(settings, names.TRAINING_INSTANCE_TYPE, *_like(settings, settings.training)),
            training_instance_count=_integer(settings, names.TRAINING_INSTANCE_COUNT),
            evaluate_instance_type=_text(settings, names.EVALUATE_INSTANCE_TYPE, *CPU_JOB_INSTANCES),
        )

    def all(self) -> tuple[Parameter, ...]:
        """Every parameter, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


def _setting(settings: Settings, name: str) -> Any:
    section, _, field = SETTINGS[name].partition(".")
    return getattr(getattr(settings, section), field)


def _text(settings: Settings, name: str, *allowed: str) -> Parameter:
    return Parameter(name, ParameterType.STRING, _setting(settings, name), allowed)


def _integer(settings: Settings, name: str) -> Parameter:
    return Parameter(name, ParameterType.INTEGER, _setting(settings, name))


def _like(settings: Settings, job: JobSettings) -> tuple[str, ...]:
    """The types that fit what synthesis has chosen for the job's own: image, volume, and whether a volume has a key."""
    fit = tuple(name for name in processor_of(job.instance_type).job_instances if has_room_for(job.volume_gb, name))
    if not settings.security.customer_keys:
        return fit
    return tuple(name for name in fit if has_own_disk(name) == has_own_disk(job.instance_type))
