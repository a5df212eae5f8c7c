"""Train: one training with the best trial's learning rate and batch size."""

from __future__ import annotations

from stacks.names import TRAIN
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import JOB_RETRIES, Expression, PipelineStep, StepType, get
from stacks.pipeline.tune import best_trial, searched, training_job


def train_step(context: PipelineContext) -> PipelineStep:
    """The training with the best trial's values."""
    job = training_job(
        context,
        part="train",
        instance_count=context.parameters.training_instance_count.value,
        hyperparameters={name: best_trial(name) for name in searched(context)},
    )
    return PipelineStep(
        name=TRAIN,
        type=StepType.TRAINING,
        description="Trains with the best trial's values on managed spot",
        arguments=job.render(context),
        retries=JOB_RETRIES,
    )


def model_archive() -> Expression:
    """S3 address of the trained model.tar.gz."""
    return get(f"Steps.{TRAIN}.ModelArtifacts.S3ModelArtifacts")
