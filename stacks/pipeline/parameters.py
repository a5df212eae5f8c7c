"""The pipeline's parameters, with the settings as their defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stacks import names
from stacks.backbones import BACKBONES
from stacks.pipeline.expressions import Parameter, ParameterType
from stacks.settings import Settings
from stacks.settings.instances import CPU_JOB_INSTANCES, processor_of
from stacks.settings.jobs import JobSettings


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
        training = settings.training
        return cls(
            photos_uri=_text(names.PHOTOS_URI, settings.data.photos_uri),
            labels_uri=_text(names.LABELS_URI, settings.data.labels_uri),
            fresh=_text(names.FRESH, "none"),
            limit_per_class=_integer(names.LIMIT_PER_CLASS, settings.data.limit_per_class),
            strategy=_text(names.STRATEGY, training.strategy, "head", "full"),
            backbone=_text(names.BACKBONE, training.backbone, *BACKBONES),
            weights=_text(names.WEIGHTS, training.weights),
            views=_integer(names.VIEWS, training.views),
            epochs=_integer(names.EPOCHS, training.epochs),
            seed=_integer(names.SEED, training.seed),
            accuracy_threshold=Parameter(
                names.ACCURACY_THRESHOLD, ParameterType.FLOAT, settings.evaluation.accuracy_threshold
            ),
            tuning_jobs=_integer(names.TUNING_JOBS, settings.tuning.jobs),
            tuning_parallel_jobs=_integer(names.TUNING_PARALLEL_JOBS, settings.tuning.parallel_jobs),
            ingest_instance_type=_text(names.INGEST_INSTANCE_TYPE, settings.ingest.instance_type, *CPU_JOB_INSTANCES),
            ingest_instance_count=_integer(names.INGEST_INSTANCE_COUNT, settings.ingest.instance_count),
            # Synthesis chooses the image for CPU or GPU, so an execution can choose only among types of that kind.
            embed_instance_type=_text(names.EMBED_INSTANCE_TYPE, settings.embed.instance_type, *_like(settings.embed)),
            training_instance_type=_text(names.TRAINING_INSTANCE_TYPE, training.instance_type, *_like(training)),
            training_instance_count=_integer(names.TRAINING_INSTANCE_COUNT, training.instance_count),
            evaluate_instance_type=_text(
                names.EVALUATE_INSTANCE_TYPE, settings.evaluation.instance_type, *CPU_JOB_INSTANCES
            ),
        )

    def all(self) -> tuple[Parameter, ...]:
        """Every parameter, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


def _text(name: str, default: str, *allowed: str) -> Parameter:
    return Parameter(name, ParameterType.STRING, default, allowed)


def _integer(name: str, default: int) -> Parameter:
    return Parameter(name, ParameterType.INTEGER, default)


def _like(job: JobSettings) -> tuple[str, ...]:
    return processor_of(job.instance_type).job_instances
