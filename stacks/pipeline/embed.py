"""Embed: the frozen backbone runs once over the shards, so that tuning and training read features."""

from __future__ import annotations

from stacks.pipeline.context import PipelineContext, channel
from stacks.pipeline.expressions import JOB_RETRIES, Expression, Step, StepType, get, join
from stacks.pipeline.fingerprint import WEIGHTS, returned
from stacks.pipeline.ingest import REPORT, SPLITS, shards
from stacks.pipeline.processing import output_uri
from stacks.pipeline.script_mode import ScriptJob
from stacks.settings_sections import TrainingSettings

NAME = "Embed"


def embed_step(context: PipelineContext) -> Step:
    """The step. With strategy `full` the script writes a note and ends."""
    parameters = context.parameters
    job = ScriptJob(
        script="embed",
        job=context.settings.embed,
        instance_type=parameters.embed_instance_type,
        instance_count=context.settings.embed.instance_count,
        hyperparameters={
            "strategy": parameters.strategy.text,
            "backbone": parameters.backbone.text,
            "weights": parameters.weights.text,
            "views": parameters.views.text,
            "seed": parameters.seed.text,
            "precision": context.settings.embed.precision,
            **prepared(context.settings.training),
        },
        channels=tuple(channel(split, shards(split)) for split in SPLITS),
        output_uri=context.data_uri("embed"),
        # Beside the shards it was computed from, not under this execution: the address is part of what step caching
        # compares, and one with the execution's id in it would never be found again.
        checkpoint_uri=join(output_uri("Ingest", REPORT), "embed-checkpoints", "", on="/"),
        compress_output=False,
        cached=True,
        # The script reads the weights and knows them by their digest; the cache has to know them before.
        environment={"BINVENTORY_WEIGHTS_FINGERPRINT": returned(WEIGHTS)},
    )
    return Step(
        name=NAME,
        type=StepType.TRAINING,
        description="Runs the frozen backbone once over every photo and writes features",
        arguments=job.render(context),
        cache_days=context.settings.storage.executions_expire_days - 1,
        retries=JOB_RETRIES,
    )


def prepared(training: TrainingSettings) -> dict[str, str]:
    """Hyperparameters that say how a photo becomes features; Embed and a full training take the same."""
    return {"features": training.features, "fit": training.fit, "input-size": str(training.input_size)}


def embedding() -> Expression:
    """Prefix of the features and the backbone."""
    return get(f"Steps.{NAME}.ModelArtifacts.S3ModelArtifacts")
