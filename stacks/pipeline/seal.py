"""Seal: records the digests of the lists of shards, to which later steps hold the shards that they read."""

from __future__ import annotations

from stacks import names
from stacks.names import SEAL
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import Expression, Output, ParameterType, PipelineStep, StepType, get
from stacks.pipeline.ingest import shards
from stacks.vocabulary import SPLITS

SHARDS = Output(names.SHARDS, ParameterType.STRING)


def seal_step(context: PipelineContext) -> PipelineStep:
    """The step. It is never cached: it holds shards from the cache to what was recorded of them."""
    return PipelineStep(
        name=SEAL,
        type=StepType.LAMBDA,
        description="Records which shards Ingest has left, so that later steps refuse others",
        arguments={split: shards(split) for split in SPLITS},
        function=context.fingerprint_function,
        outputs=(SHARDS,),
    )


def sealed() -> Expression:
    """What the step returns: `test=<digest>,train=<digest>,validation=<digest>`."""
    return get(f"Steps.{SEAL}.OutputParameters['{SHARDS.name}']")
