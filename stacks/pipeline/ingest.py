"""Ingest: bin photos and their metadata in, checked and split shards out."""

from __future__ import annotations

from stacks.names import INGEST
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import JOB_RETRIES, Expression, PipelineStep, StepType
from stacks.pipeline.fingerprint import LISTING, returned
from stacks.pipeline.processing import OUTPUT, ProcessingJob, output_uri
from stacks.vocabulary import SPLITS

REPORT = "report"


def ingest_step(context: PipelineContext) -> PipelineStep:
    """The step. Its machines share the ids."""
    parameters = context.parameters
    job = ProcessingJob(
        script="ingest",
        role_arn=context.roles.ingest,
        job=context.settings.ingest,
        instance_type=parameters.ingest_instance_type,
        instance_count=parameters.ingest_instance_count.value,
        arguments=(
            "--photos-uri",
            parameters.photos_uri.text,
            "--labels-uri",
            parameters.labels_uri.text,
            "--listing",
            returned(LISTING),
            "--limit-per-class",
            parameters.limit_per_class.text,
            "--seed",
            parameters.seed.text,
            "--block-size",
            str(context.settings.data.block_size),
            "--resource-config",
            "/opt/ml/config/resourceconfig.json",
            "--output",
            OUTPUT,
        ),
        inputs={},
        outputs={name: context.data_uri("ingest", name) for name in (*SPLITS, REPORT)},
        cached=True,
    )
    return PipelineStep(
        name=INGEST,
        type=StepType.PROCESSING,
        description="Checks and resizes the photos, splits them by blocks of ids and writes shards",
        arguments=job.render(context),
        # Equal listing, code and limits give equal shards: the longest step need not run again.
        cache_days=context.reuse_days,
        retries=JOB_RETRIES,
    )


def shards(split: str) -> Expression:
    """Prefix of the shards of a split."""
    return output_uri(INGEST, split)
