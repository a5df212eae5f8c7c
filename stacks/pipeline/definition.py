"""The whole definition."""

from __future__ import annotations

from typing import Any

from stacks.pipeline.context import PipelineContext
from stacks.pipeline.embed import embed_step
from stacks.pipeline.evaluate import evaluate_step
from stacks.pipeline.expressions import PipelineStep
from stacks.pipeline.fingerprint import fingerprint_step
from stacks.pipeline.gate import gate_step
from stacks.pipeline.ingest import ingest_step
from stacks.pipeline.seal import seal_step
from stacks.pipeline.train import train_step
from stacks.pipeline.tune import tune_step


def steps(context: PipelineContext) -> tuple[PipelineStep, ...]:
    """The top-level steps, in the order in which they run."""
    return (
        fingerprint_step(context),
        ingest_step(context),
        seal_step(context),
        embed_step(context),
        tune_step(context),
        train_step(context),
        evaluate_step(context),
        gate_step(context),
    )


def definition(context: PipelineContext) -> dict[str, Any]:
    """The pipeline definition; strings may hold CDK tokens, so it becomes JSON through `Stack.to_json_string`."""
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [parameter.render() for parameter in context.parameters.all()],
        "Steps": [step.render() for step in steps(context)],
    }
