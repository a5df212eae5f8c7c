"""Register: adds the model to the model package group, with its evaluation and its origin."""

from __future__ import annotations

from typing import get_args

from stacks.names import ARCHIVE, EVALUATE, REGISTER, TRAIN, TUNE
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.evaluate import EVALUATION, SERVING
from stacks.pipeline.expressions import (
    EXECUTION_ARN,
    SERVICE_RETRY,
    PipelineStep,
    StepType,
    get,
    join,
    json_get,
)
from stacks.pipeline.ingest import shards
from stacks.pipeline.processing import output_uri
from stacks.pipeline.tune import BATCH_SIZE, LEARNING_RATE, best_trial
from stacks.settings.instances import BatchInstance, ServingInstance
from stacks.vocabulary import ARCHIVE_DIGEST

CONTENT_TYPES = ("image/jpeg", "image/png")


def register_step(context: PipelineContext) -> PipelineStep:
    """The step. The model package waits for approval."""
    parameters = context.parameters
    measured = {
        "Statistics": {
            "ContentType": "application/json",
            "S3Uri": join(output_uri(EVALUATE, EVALUATION.output), EVALUATION.path, on="/"),
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
                    "ModelDataUrl": join(output_uri(EVALUATE, SERVING), "model.tar.gz", on="/"),
                }
            ],
            "SupportedContentTypes": list(CONTENT_TYPES),
            "SupportedResponseMIMETypes": ["application/json"],
            # All that settings allow: the settings may change after a model is registered.
            "SupportedRealtimeInferenceInstanceTypes": list(get_args(ServingInstance)),
            "SupportedTransformInstanceTypes": list(get_args(BatchInstance)),
        },
        "ModelMetrics": {"ModelQuality": measured},
        # The drift monitor compares live answers with this.
        "DriftCheckBaselines": {"ModelQuality": measured},
        # The origin of the model, readable without the pipeline's history. The evaluation above holds the data
        # fingerprint and the calibration; the cost of the execution is added when it is known.
        "CustomerMetadataProperties": {
            # What is approved: the endpoint serves no other archive, even where one was written to its address later.
            ARCHIVE: json_get(EVALUATE, EVALUATION.name, f"binventory.lineage.{ARCHIVE_DIGEST}"),
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
    return PipelineStep(
        name=REGISTER,
        type=StepType.REGISTER_MODEL,
        description="Adds the model to the group, where it waits for approval",
        arguments=arguments,
        retries=(SERVICE_RETRY,),
    )
