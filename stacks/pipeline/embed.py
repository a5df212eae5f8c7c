"""Embed: the frozen backbone runs once over the shards, so that tuning and training read features."""

from __future__ import annotations

from stacks.names import EMBED, INGEST
from stacks.pipeline.context import PipelineContext, channel
from stacks.pipeline.expressions import JOB_RETRIES, Expression, PipelineStep, StepType, get, join
from stacks.pipeline.fingerprint import WEIGHTS, returned
from stacks.pipeline.ingest import REPORT, shards
from stacks.pipeline.processing import output_uri
from stacks.pipeline.script_mode import ScriptJob
from stacks.pipeline.seal import sealed
from stacks.settings.training import TrainingSettings
from stacks.vocabulary import TRAIN, VALIDATION

EMBED_CHECKPOINTS = "embed-checkpoints"
"""Prefix of Embed's checkpoints, below the report of the ingest."""


def embed_step(context: PipelineContext) -> PipelineStep:
    """The step. With strategy `full` the script only writes a note."""
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
            "sealed": sealed(),
            **prepared(context.settings.training),
        },
        channels=tuple(channel(split, shards(split)) for split in (TRAIN, VALIDATION)),
        output_uri=context.data_uri("embed"),
        # Beside the shards, not under this execution: step caching compares the address too, and one with the
        # execution's id would never match.
        checkpoint_uri=join(output_uri(INGEST, REPORT), EMBED_CHECKPOINTS, "", on="/"),
        compress_output=False,
        cached=True,
        # The script identifies weights by their digest, which the cache cannot see: it compares this variable.
        environment={"BINVENTORY_WEIGHTS_FINGERPRINT": returned(WEIGHTS)},
    )
    return PipelineStep(
        name=EMBED,
        type=StepType.TRAINING,
        description="Runs the frozen backbone once over every photo and writes features",
        arguments=job.render(context),
        cache_days=context.reuse_days,
        retries=JOB_RETRIES,
    )


def prepared(training: TrainingSettings) -> dict[str, str]:
    """Hyperparameters that say how a photo becomes features; Embed and a full training take the same."""
    return {"features": training.features, "fit": training.fit, "input-size": str(training.input_size)}


def embedding() -> Expression:
    """Prefix of the features and the backbone."""
    return get(f"Steps.{EMBED}.ModelArtifacts.S3ModelArtifacts")
