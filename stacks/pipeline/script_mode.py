"""Training jobs in script mode: the common part of Embed, the trials of Tune, and Train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stacks.pipeline.context import PipelineContext, channel
from stacks.pipeline.expressions import Expression, Parameter
from stacks.settings.jobs import SpotJobSettings

CHECKPOINTS = "/opt/ml/checkpoints"
_CODE = "/opt/ml/code"
_CODE_CHANNEL = "/opt/ml/input/data/code"
_NUMBER = "([0-9.eE+-]+)"
METRICS = (
    "train:loss",
    "train:accuracy",
    "validation:loss",
    "validation:accuracy",
    "validation:rmse",
    "train:gradient-norm",
    "watch:fired",
)


@dataclass(frozen=True)
class ScriptJob:
    """A training job that runs one script of the source archive."""

    script: str
    """Name without `.py`."""
    job: SpotJobSettings
    instance_type: Parameter
    instance_count: Expression | int
    hyperparameters: Mapping[str, str | Expression]
    channels: tuple[dict[str, Any], ...]
    output_uri: Expression
    checkpoint_uri: Expression
    compress_output: bool = True
    metrics: tuple[str, ...] = ()
    cached: bool = False
    """Whether the step is cached: then `Fresh` must be part of the request, which the cache compares."""
    environment: Mapping[str, Expression] = field(default_factory=dict)

    def static_hyperparameters(self, context: PipelineContext) -> dict[str, str | Expression]:
        """Those of the script, and those of the training toolkit, which reads them as JSON: what to run, and where."""
        return {
            **self._hyperparameters(context),
            "sagemaker_program": json.dumps(f"{self.script}.py"),
            "sagemaker_submit_directory": json.dumps(f"{_CODE_CHANNEL}/{context.code_file}")
            if context.security.network
            else f'"{context.code_uri}"',
            "sagemaker_region": json.dumps(context.settings.region),
            "sagemaker_container_log_level": "20",
        }

    def algorithm(self, context: PipelineContext) -> dict[str, Any]:
        """The AlgorithmSpecification."""
        rendered: dict[str, Any] = {
            "TrainingImage": context.training_image(self.job.instance_type),
            "TrainingInputMode": "FastFile",
        }
        if self.metrics:
            rendered["MetricDefinitions"] = [{"Name": name, "Regex": f"{name}={_NUMBER}"} for name in self.metrics]
        return rendered

    def common(self, context: PipelineContext) -> dict[str, Any]:
        """The fields that a training job and a tuning job's definition of its trials share."""
        return {
            "InputDataConfig": [*self.channels, *self._isolated_channels(context)],
            "OutputDataConfig": {
                "S3OutputPath": self.output_uri,
                "CompressionType": "GZIP" if self.compress_output else "NONE",
                **context.security.results(),
            },
            "ResourceConfig": {
                "InstanceType": self.instance_type.value,
                "InstanceCount": self.instance_count,
                "VolumeSizeInGB": self.job.volume_gb,
                **context.security.volume(self.job.instance_type),
            },
            "RoleArn": context.roles.training,
            "EnableManagedSpotTraining": self.job.spot,
            "StoppingCondition": self._stopping_condition(),
            "CheckpointConfig": {"S3Uri": self.checkpoint_uri, "LocalPath": CHECKPOINTS},
            "RetryStrategy": {"MaximumRetryAttempts": 2},
            "EnableInterContainerTrafficEncryption": True,
            "Environment": {
                **(context.cached_environment if self.cached else context.environment),
                **self.environment,
                **context.security.packages(_CODE),
            },
            **context.security.of_training(),
        }

    def render(self, context: PipelineContext) -> dict[str, Any]:
        """The request of CreateTrainingJob."""
        return {
            "AlgorithmSpecification": self.algorithm(context),
            "HyperParameters": self.static_hyperparameters(context),
            **self.common(context),
            "Tags": context.tags,
        }

    def _hyperparameters(self, context: PipelineContext) -> dict[str, str | Expression]:
        given = dict(self.hyperparameters)
        if _weights_by_channel(context):
            given["weights"] = "channel"
        return given

    def _isolated_channels(self, context: PipelineContext) -> list[dict[str, Any]]:
        """Channels for what an isolated container cannot download: its code, and the backbone's weights."""
        found: dict[str, str | Expression] = {"code": context.code_uri} if context.security.network else {}
        if _weights_by_channel(context):
            found["weights"] = context.parameters.weights.value
        return [{**channel(name, uri), "InputMode": "File"} for name, uri in found.items()]

    def _stopping_condition(self) -> dict[str, int]:
        condition = {"MaxRuntimeInSeconds": self.job.max_runtime_minutes * 60}
        if self.job.spot:
            condition["MaxWaitTimeInSeconds"] = self.job.max_wait_minutes * 60
        return condition


def _weights_by_channel(context: PipelineContext) -> bool:
    return context.security.network is not None and context.settings.training.weights.startswith("s3://")
