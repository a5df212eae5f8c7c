"""Evaluate: measures the trained model on the test split, and packs it for serving."""

from __future__ import annotations

from stacks.names import EVALUATE
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import (
    JOB_RETRIES,
    Expression,
    PipelineStep,
    PropertyFile,
    StepType,
)
from stacks.pipeline.ingest import shards
from stacks.pipeline.processing import INPUT, OUTPUT, ProcessingJob
from stacks.pipeline.seal import sealed
from stacks.pipeline.train import model_archive
from stacks.vocabulary import SPLITS

EVALUATION = PropertyFile(name="Evaluation", output="evaluation", path="evaluation.json")
SERVING = "serving"


def evaluate_step(context: PipelineContext) -> PipelineStep:
    """Measures the model on the test split, compares it with the champion and makes the serving archive."""
    parameters = context.parameters
    arguments: list[str | Expression] = ["--model", f"{INPUT}/model"]
    for split in SPLITS:
        arguments += [f"--{split}", f"{INPUT}/{split}"]
    arguments += [
        "--output",
        OUTPUT,
        "--accuracy-threshold",
        parameters.accuracy_threshold.text,
        "--endpoint",
        context.settings.prefix,
        "--model-package-group",
        context.model_package_group,
        "--seed",
        parameters.seed.text,
        "--precision",
        context.settings.evaluation.precision,
        "--sealed",
        sealed(),
    ]
    job = ProcessingJob(
        script="evaluate",
        role_arn=context.roles.evaluate,
        job=context.settings.evaluation,
        instance_type=parameters.evaluate_instance_type,
        instance_count=1,
        arguments=tuple(arguments),
        inputs={"model": model_archive(), **{split: shards(split) for split in SPLITS}},
        outputs={
            EVALUATION.output: context.model_uri("evaluation"),
            SERVING: context.model_uri(SERVING),
        },
    )
    return PipelineStep(
        name=EVALUATE,
        type=StepType.PROCESSING,
        description="Measures the model on the test split and exports it for serving",
        arguments=job.render(context),
        retries=JOB_RETRIES,
        property_files=(EVALUATION,),
    )
