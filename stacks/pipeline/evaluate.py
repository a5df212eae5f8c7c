"""Evaluate, and what follows from it: Gate, then Register or Refuse."""

from __future__ import annotations

from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import (
    EXECUTION_ARN,
    JOB_RETRIES,
    SERVICE_RETRY,
    Expression,
    PropertyFile,
    Step,
    StepType,
    get,
    join,
    json_get,
)
from stacks.pipeline.ingest import shards
from stacks.pipeline.processing import INPUT, OUTPUT, ProcessingJob, output_uri
from stacks.pipeline.train import BATCH_SIZE, LEARNING_RATE, TRAIN, TUNE, best_trial, model_archive
from stacks.vocabulary import SPLITS

NAME = "Evaluate"
EVALUATION = PropertyFile(name="Evaluation", output="evaluation", path="evaluation.json")
SERVING = "serving"
CONTENT_TYPES = ("image/jpeg", "image/png")


def evaluate_step(context: PipelineContext) -> Step:
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
    return Step(
        name=NAME,
        type=StepType.PROCESSING,
        description="Measures the model on the test split and exports it for serving",
        arguments=job.render(context),
        retries=JOB_RETRIES,
        property_files=(EVALUATION,),
    )


def gate_step(context: PipelineContext) -> Step:
    """Registers a model that is good enough and not worse than what is served; says why otherwise."""
    conditions = [
        {
            "Type": "GreaterThanOrEqualTo",
            "LeftValue": json_get(NAME, EVALUATION.name, "multiclass_classification_metrics.accuracy.value"),
            "RightValue": context.parameters.accuracy_threshold.value,
        },
        {
            "Type": "Equals",
            "LeftValue": json_get(NAME, EVALUATION.name, "binventory.gate.not_worse_than_champion"),
            "RightValue": True,
        },
    ]
    return Step(
        name="Gate",
        type=StepType.CONDITION,
        description="At least the accuracy threshold, and not worse than the champion on the same test split",
        arguments={
            "Conditions": conditions,
            "IfSteps": [_register_step(context).render()],
            "ElseSteps": [_refuse_step(context).render()],
        },
    )


def _register_step(context: PipelineContext) -> Step:
    parameters = context.parameters
    serving_instance = context.settings.serving.instance_type
    measured = {
        "Statistics": {
            "ContentType": "application/json",
            "S3Uri": join(output_uri(NAME, EVALUATION.output), EVALUATION.path, on="/"),
        }
    }
    arguments = {
        "ModelPackageGroupName": context.model_package_group,
        "ModelPackageDescription": "Counts the items in a bin from its photo",
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [
                {
                    "Image": context.serving_image,
                    "ModelDataUrl": join(output_uri(NAME, SERVING), "model.tar.gz", on="/"),
                }
            ],
            "SupportedContentTypes": list(CONTENT_TYPES),
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": [serving_instance],
            "SupportedTransformInstanceTypes": [context.settings.batch.instance_type],
        },
        "ModelMetrics": {"ModelQuality": measured},
        # What the drift monitor compares live answers with.
        "DriftCheckBaselines": {"ModelQuality": measured},
        # Where this model came from, readable without the pipeline's history. Data fingerprint, calibration and the
        # rest of its making are in the evaluation above; what the run has cost is added once that is known.
        "CustomerMetadataProperties": {
            "backbone": parameters.backbone.text,
            "batch_size": best_trial(BATCH_SIZE),
            "code": context.code_hash,
            "learning_rate": best_trial(LEARNING_RATE),
            "photos_uri": parameters.photos_uri.text,
            "pipeline_execution": EXECUTION_ARN,
            "shards": shards("train"),
            "strategy": parameters.strategy.text,
            "training_job": get(f"Steps.{TRAIN}.TrainingJobName"),
            "tuning_job": get(f"Steps.{TUNE}.HyperParameterTuningJobName"),
            "weights": parameters.weights.text,
        },
    }
    return Step(
        name="Register",
        type=StepType.REGISTER_MODEL,
        description="Adds the model to the group, where it waits for approval",
        arguments=arguments,
        retries=(SERVICE_RETRY,),
    )


def _refuse_step(context: PipelineContext) -> Step:
    message = join(
        "The model was not registered: its accuracy on the test split is below AccuracyThreshold (",
        context.parameters.accuracy_threshold.value,
        ") or it is worse than the approved champion. The figures are in ",
        output_uri(NAME, EVALUATION.output),
        f"/{EVALUATION.path}",
    )
    return Step(
        name="Refuse",
        type=StepType.FAIL,
        description="Ends the execution with the reason",
        arguments={"ErrorMessage": message},
    )
