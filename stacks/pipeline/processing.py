"""Processing jobs: the common part of Ingest and Evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import Expression, Parameter
from stacks.settings.jobs import MachineSettings

INPUT = "/opt/ml/processing/input"
OUTPUT = "/opt/ml/processing/output"
_CODE = "/opt/ml/processing/code"


@dataclass(frozen=True)
class ProcessingJob:
    """A processing job that runs one script of the source archive."""

    script: str
    """Name without `.py`."""
    role_arn: str
    job: MachineSettings
    instance_type: Parameter
    instance_count: Expression | int
    arguments: tuple[str | Expression, ...]
    inputs: Mapping[str, str | Expression]
    """S3 address of each input, found by the script under `INPUT/<name>`."""
    outputs: Mapping[str, Expression]
    """S3 address of each output, written by the script under `OUTPUT/<name>`."""
    cached: bool = False
    """Whether the step is cached: then `Fresh` must be part of the request, which the cache compares."""

    def render(self, context: PipelineContext) -> dict[str, Any]:
        """The request of CreateProcessingJob."""
        return {
            "AppSpecification": {
                "ImageUri": context.training_image(self.job.instance_type),
                "ContainerEntrypoint": ["/bin/bash", "-c", self._command(), self.script],
                "ContainerArguments": list(self.arguments),
            },
            "Environment": {
                **(context.cached_environment if self.cached else context.environment),
                **context.security.packages(_CODE),
            },
            "ProcessingInputs": [_input(name, uri) for name, uri in {"code": context.code_uri, **self.inputs}.items()],
            "ProcessingOutputConfig": {
                "Outputs": [_output(name, uri) for name, uri in self.outputs.items()],
                **context.security.results(),
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": self.instance_type.value,
                    "InstanceCount": self.instance_count,
                    "VolumeSizeInGB": self.job.volume_gb,
                    **context.security.volume(self.job.instance_type),
                }
            },
            "RoleArn": self.role_arn,
            "StoppingCondition": {"MaxRuntimeInSeconds": self.job.max_runtime_minutes * 60},
            **context.security.of_processing(),
            "Tags": context.tags,
        }

    def _command(self) -> str:
        # SageMaker allows 256 characters. The archive's name is its hash, hence the pattern.
        return (
            f"set -e; mkdir -p {_CODE}; cd {_CODE}; tar -xzf {INPUT}/code/*.gz; "
            f'python3 -m pip install -q --require-hashes -r requirements.txt; exec python3 {self.script}.py "$@"'
        )


def _input(name: str, uri: str | Expression) -> dict[str, Any]:
    return {
        "InputName": name,
        "AppManaged": False,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"{INPUT}/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }


def _output(name: str, uri: Expression) -> dict[str, Any]:
    return {
        "OutputName": name,
        "AppManaged": False,
        "S3Output": {"S3Uri": uri, "LocalPath": f"{OUTPUT}/{name}", "S3UploadMode": "EndOfJob"},
    }


def output_uri(step: str, output: str) -> Expression:
    """Where a processing step put one of its outputs, in this execution or in the cached one."""
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri"}
