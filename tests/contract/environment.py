"""An environment's pipeline without its stacks, for tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.contract.jobs import IMAGE, ROLE, ClientFactory

PIPELINE = "binventory-dev"
EPOCHS = {"Name": "Epochs", "Type": "Integer", "DefaultValue": 3}


def processing(name: str, script: str) -> dict[str, Any]:
    """A Processing step that runs a line of shell."""
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {"ImageUri": IMAGE, "ContainerEntrypoint": ["/bin/bash", "-c", script]},
            "ProcessingResources": {"ClusterConfig": cluster},
            "RoleArn": ROLE,
        },
    }


def define(client: ClientFactory, *steps: dict[str, Any], parameters: Sequence[dict[str, Any]] = (EPOCHS,)) -> None:
    """Makes these steps the environment's pipeline."""
    sagemaker = client("sagemaker")
    definition = json.dumps({"Version": "2020-12-01", "Parameters": list(parameters), "Steps": list(steps)})
    if any(item["PipelineName"] == PIPELINE for item in sagemaker.list_pipelines()["PipelineSummaries"]):
        sagemaker.update_pipeline(PipelineName=PIPELINE, PipelineDefinition=definition)
    else:
        sagemaker.create_pipeline(
            PipelineName=PIPELINE, PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken="t" * 32
        )
