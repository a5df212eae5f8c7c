"""Tune: searches learning rate, batch size and the settings' ranges, in trials that run the script of Train."""

from __future__ import annotations

from typing import Any

from stacks.names import TUNE
from stacks.pipeline.context import PipelineContext, channel
from stacks.pipeline.embed import embedding, prepared
from stacks.pipeline.expressions import EXECUTION_ID, JOB_RETRIES, Expression, PipelineStep, StepType, get, join
from stacks.pipeline.ingest import shards
from stacks.pipeline.script_mode import METRICS, ScriptJob
from stacks.pipeline.seal import sealed
from stacks.settings.training import TrainingSettings
from stacks.settings.tuning import WarmStartSettings

LEARNING_RATE = "lr"
BATCH_SIZE = "batch-size"
OBJECTIVE = "validation:loss"


def tune_step(context: PipelineContext) -> PipelineStep:
    """The search for learning rate, batch size and what `tuning.ranges` adds."""
    job = training_job(context, part="tune", instance_count=1, hyperparameters={})
    definition: dict[str, Any] = {
        "AlgorithmSpecification": job.algorithm(context),
        "StaticHyperParameters": job.static_hyperparameters(context),
        **job.common(context),
    }
    arguments = {
        "HyperParameterTuningJobConfig": _search(context),
        "TrainingJobDefinition": definition,
        **_warm_start(context.settings.tuning.warm_start),
        "Tags": context.tags,
    }
    return PipelineStep(
        name=TUNE,
        type=StepType.TUNING,
        description="Searches learning rate and batch size on managed spot for the least validation loss",
        arguments=arguments,
        retries=JOB_RETRIES,
    )


def _search(context: PipelineContext) -> dict[str, Any]:
    """The HyperParameterTuningJobConfig: what varies, how it is searched, and when trials are stopped."""
    tuning, parameters = context.settings.tuning, context.parameters
    search: dict[str, Any] = {
        "Strategy": tuning.strategy,
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": OBJECTIVE},
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs": parameters.tuning_jobs.value,
            "MaxParallelTrainingJobs": parameters.tuning_parallel_jobs.value,
        },
        "ParameterRanges": {
            "ContinuousParameterRanges": [
                _continuous(
                    LEARNING_RATE, tuning.learning_rate_min, tuning.learning_rate_max, tuning.learning_rate_scale
                ),
                *(
                    _continuous(_flag(name), found.min, found.max, found.scale)
                    for name, found in tuning.ranges.items()
                    if found.min is not None and found.max is not None
                ),
            ],
            "CategoricalParameterRanges": [
                {"Name": BATCH_SIZE, "Values": [str(size) for size in tuning.batch_sizes]},
                *(
                    {"Name": _flag(name), "Values": list(found.values)}
                    for name, found in tuning.ranges.items()
                    if found.values
                ),
            ],
        },
        "TrainingJobEarlyStoppingType": tuning.early_stopping,
        "RandomSeed": parameters.seed.value,
    }
    if tuning.strategy == "Hyperband":
        # The script prints one validation loss an epoch: epochs are the resource that Hyperband distributes.
        epochs = {"MinResource": tuning.hyperband_min_epochs, "MaxResource": parameters.epochs.value}
        search["StrategyConfig"] = {"HyperbandStrategyConfig": epochs}
    return search


def searched(context: PipelineContext) -> list[str]:
    """The hyperparameters that trials vary, by their flags."""
    return [LEARNING_RATE, BATCH_SIZE, *map(_flag, context.settings.tuning.ranges)]


def _continuous(name: str, low: float, high: float, scale: str) -> dict[str, str]:
    return {"Name": name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scale}


def _flag(setting: str) -> str:
    return setting.replace("_", "-")


def _warm_start(of: WarmStartSettings | None) -> dict[str, Any]:
    if of is None:
        return {}
    parents = [{"HyperParameterTuningJobName": name} for name in of.parents]
    return {"WarmStartConfig": {"ParentHyperParameterTuningJobs": parents, "WarmStartType": of.type}}


def best_trial(name: str) -> Expression:
    """The best trial's value of a hyperparameter."""
    return get(f"Steps.{TUNE}.BestTrainingJob.TunedHyperParameters['{name}']")


def training_job(
    context: PipelineContext,
    *,
    part: str,
    instance_count: Expression | int,
    hyperparameters: dict[str, str | Expression],
) -> ScriptJob:
    parameters = context.parameters
    asked: dict[str, str | Expression] = {
        "strategy": parameters.strategy.text,
        "backbone": parameters.backbone.text,
        "weights": parameters.weights.text,
        "epochs": parameters.epochs.text,
        "seed": parameters.seed.text,
        "loss": context.settings.training.loss,
        "precision": context.settings.training.precision,
        "head": context.settings.training.head,
        "answer": context.settings.training.answer,
        "sealed": sealed(),
        **prepared(context.settings.training),
        **_watching(context.settings.training),
    }
    # SageMaker refuses a hyperparameter that is both fixed and searched.
    fixed = {name: value for name, value in asked.items() if name not in searched(context)}
    return ScriptJob(
        script="train",
        job=context.settings.training,
        instance_type=parameters.training_instance_type,
        instance_count=instance_count,
        hyperparameters={**fixed, **hyperparameters},
        channels=(
            channel("embedding", embedding()),
            channel("train", shards("train")),
            channel("validation", shards("validation")),
        ),
        output_uri=context.model_uri(part),
        # Ends with a slash: S3 prefixes are plain text, so `Trial-1` would also match the files of `Trial-10`.
        checkpoint_uri=join(f"s3://{context.data_bucket}/checkpoints", EXECUTION_ID, part, "", on="/"),
        metrics=METRICS,
    )


def _watching(training: TrainingSettings) -> dict[str, Expression | str]:
    """Hyperparameters of watch rules, profiler and MLflow. Without a server the script gets no `mlflow` at all."""
    tracking = {} if training.mlflow == "none" else {"mlflow": training.mlflow}
    return {"watch": training.watch, "profile-steps": str(training.profile_steps), **tracking}
