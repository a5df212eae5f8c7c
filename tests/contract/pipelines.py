"""Helpers for tests of pipelines: steps that run a shell command, definitions, and executions to their end."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.contract.jobs import BUCKET, IMAGE, ROLE, ClientFactory, until

OUTPUT = "/opt/ml/processing/output"


def get(path: str) -> dict[str, str]:
    """A reference to something that a step or the execution has."""
    return {"Get": path}


def join(*values: Any, on: str = "") -> dict[str, Any]:
    """Std:Join of the values."""
    return {"Std:Join": {"On": on, "Values": list(values)}}


def processing_step(name: str, script: str, *arguments: Any, **members: Any) -> dict[str, Any]:
    """A Processing step that runs a line of shell and has one output, `out`."""
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {
                "ImageUri": IMAGE,
                "ContainerEntrypoint": ["/bin/bash", "-c", f"set -e; out={OUTPUT}; {script}", name],
                "ContainerArguments": list(arguments) or ["none"],
            },
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "out",
                        "S3Output": {
                            "S3Uri": join(f"s3://{BUCKET}", get("Execution.PipelineExecutionId"), name, on="/"),
                            "LocalPath": OUTPUT,
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
            },
            "RoleArn": ROLE,
        },
    } | members


def output_of(step: str) -> dict[str, str]:
    """The S3 URI of a `processing_step`'s output."""
    return get(f"Steps.{step}.ProcessingOutputConfig.Outputs['out'].S3Output.S3Uri")


def json_get(step: str, path: str) -> dict[str, Any]:
    """Std:JsonGet into the report of a step that has `REPORT`."""
    return {"Std:JsonGet": {"PropertyFile": get(f"Steps.{step}.PropertyFiles.report"), "Path": path}}


REPORT = {"PropertyFiles": [{"PropertyFileName": "report", "OutputName": "out", "FilePath": "report.json"}]}


def define(*steps: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> str:
    """A pipeline definition of these steps."""
    # The last two as the SDK, version 3, sends them with every definition.
    document = {"Version": "2020-12-01", "Metadata": {}, "Parameters": parameters or [], "Steps": list(steps)}
    return json.dumps(document | {"PipelineExperimentConfig": None, "MlflowConfig": None})


def create(client: ClientFactory, name: str, *steps: dict[str, Any], **members: Any) -> None:
    """Create a pipeline of these steps."""
    client("sagemaker").create_pipeline(
        PipelineName=name,
        PipelineDefinition=define(*steps, **members),
        RoleArn=ROLE,
        ClientRequestToken=uuid.uuid4().hex,
    )


def execute(client: ClientFactory, name: str, **parameters: str) -> str:
    """Start a pipeline; returns the ARN of the execution."""
    given = [{"Name": key, "Value": value} for key, value in parameters.items()]
    arn: str = client("sagemaker").start_pipeline_execution(PipelineName=name, PipelineParameters=given)[
        "PipelineExecutionArn"
    ]
    return arn


def finished_execution(client: ClientFactory, arn: str) -> dict[str, Any]:
    """The description of an execution once it has ended."""

    def described() -> dict[str, Any] | None:
        execution: dict[str, Any] = client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
        return execution if execution["PipelineExecutionStatus"] not in {"Executing", "Stopping"} else None

    execution: dict[str, Any] = until(described)
    return execution


def steps_of(client: ClientFactory, arn: str) -> dict[str, dict[str, Any]]:
    """The steps of an execution that have started, by name."""
    listed = client("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
    return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}
