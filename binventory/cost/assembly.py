"""Reads quantities from what `cdk synth` wrote: the endpoint, what bills by the month, and the pipeline's jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binventory.errors import Exit, Problem

Template = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job of the pipeline: what runs it, how often, and for how long at most."""

    step: str
    instance_type: str
    instance_count: int
    runs: int  # trials of a tuning job; 1 otherwise
    parallel: int
    spot: bool
    max_seconds: int
    volume_gb: int


@dataclass(frozen=True)
class Endpoint:
    """What serves, while it is on."""

    instance_type: str
    min_instances: int
    max_instances: int
    on_by_default: bool


@dataclass(frozen=True)
class Assembly:
    """Everything that bills in one environment."""

    environment: str
    region: str
    jobs: tuple[Job, ...]
    parameters: dict[str, Any]  # defaults of the pipeline's parameters
    endpoint: Endpoint | None
    keys: int
    alarms: int
    endpoint_alarms: int
    dashboards: int


def read(folder: Path) -> Assembly:
    """Reads a cloud assembly folder such as cdk.out."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise Problem(
            f"{folder} is no cloud assembly",
            "there is no manifest.json in it",
            "synthesize first: npx cdk synth --quiet",
            code=Exit.USAGE,
        )
    stacks = [
        artifact
        for artifact in json.loads(manifest.read_text())["artifacts"].values()
        if artifact["type"] == "aws:cloudformation:stack"
    ]
    templates: list[Template] = [
        json.loads((folder / stack["properties"]["templateFile"]).read_text()) for stack in stacks
    ]
    definition = _definition(templates)
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition.get("Parameters", [])}
    return Assembly(
        environment=_environment([str(stack["properties"].get("stackName", "")) for stack in stacks]),
        region=stacks[0]["environment"].rsplit("/", 1)[-1],
        jobs=tuple(job for step in _steps(definition["Steps"]) if (job := _job(step, defaults)) is not None),
        parameters=defaults,
        endpoint=_endpoint(templates),
        keys=len(_resources(templates, "AWS::KMS::Key")),
        alarms=sum("Condition" not in alarm for alarm in _resources(templates, "AWS::CloudWatch::Alarm")),
        endpoint_alarms=sum("Condition" in alarm for alarm in _resources(templates, "AWS::CloudWatch::Alarm")),
        dashboards=len(_resources(templates, "AWS::CloudWatch::Dashboard")),
    )


def _resources(templates: list[Template], kind: str) -> list[dict[str, Any]]:
    return [
        resource
        for template in templates
        for resource in template.get("Resources", {}).values()
        if resource["Type"] == kind
    ]


def _environment(stack_names: list[str]) -> str:
    """`dev` of `binventory-dev-storage`."""
    parts = stack_names[0].split("-") if stack_names else []
    return parts[1] if len(parts) > 2 else ""


def _definition(templates: list[Template]) -> dict[str, Any]:
    pipelines = _resources(templates, "AWS::SageMaker::Pipeline")
    if not pipelines:
        return {"Parameters": [], "Steps": []}
    body = pipelines[0]["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"]
    return dict(json.loads(_flat(body)))


def _flat(value: Any) -> str:
    """A string in which CDK's tokens, whose values nobody knows before the deploy, are replaced by their text."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "Fn::Join" in value:
        glue, parts = value["Fn::Join"]
        return str(glue).join(_flat(part) for part in parts)
    return json.dumps(value).replace('"', "'")


def _steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All steps, those inside conditions included."""
    found = []
    for step in steps:
        found.append(step)
        arguments = step.get("Arguments", {})
        if step["Type"] == "Condition":
            found.extend(_steps(arguments.get("IfSteps", [])))
            found.extend(_steps(arguments.get("ElseSteps", [])))
    return found


def _job(step: dict[str, Any], defaults: dict[str, Any]) -> Job | None:
    arguments = step.get("Arguments", {})
    readers = {"Processing": _processing, "Training": _training, "Tuning": _tuning}
    if step["Type"] not in readers:
        return None
    return readers[step["Type"]](step["Name"], _resolved(arguments, defaults))


def _resolved(value: Any, defaults: dict[str, Any]) -> Any:
    """The arguments with parameters replaced by their defaults."""
    if isinstance(value, dict):
        get = value.get("Get")
        if isinstance(get, str) and get.startswith("Parameters."):
            return defaults.get(get.removeprefix("Parameters."))
        return {key: _resolved(inner, defaults) for key, inner in value.items()}
    return [_resolved(inner, defaults) for inner in value] if isinstance(value, list) else value


def _processing(name: str, arguments: dict[str, Any]) -> Job:
    cluster = arguments["ProcessingResources"]["ClusterConfig"]
    return Job(
        step=name,
        instance_type=cluster["InstanceType"],
        instance_count=int(cluster["InstanceCount"]),
        runs=1,
        parallel=1,
        spot=False,
        max_seconds=int(arguments["StoppingCondition"]["MaxRuntimeInSeconds"]),
        volume_gb=int(cluster["VolumeSizeInGB"]),
    )


def _training(name: str, arguments: dict[str, Any], runs: int = 1, parallel: int = 1) -> Job:
    resources = arguments["ResourceConfig"]
    return Job(
        step=name,
        instance_type=resources["InstanceType"],
        instance_count=int(resources["InstanceCount"]),
        runs=runs,
        parallel=parallel,
        spot=bool(arguments.get("EnableManagedSpotTraining", False)),
        max_seconds=int(arguments["StoppingCondition"]["MaxRuntimeInSeconds"]),
        volume_gb=int(resources["VolumeSizeInGB"]),
    )


def _tuning(name: str, arguments: dict[str, Any]) -> Job:
    limits = arguments["HyperParameterTuningJobConfig"]["ResourceLimits"]
    runs, parallel = int(limits["MaxNumberOfTrainingJobs"]), int(limits["MaxParallelTrainingJobs"])
    return _training(name, arguments["TrainingJobDefinition"], runs, parallel)


def _endpoint(templates: list[Template]) -> Endpoint | None:
    configs = _resources(templates, "AWS::SageMaker::EndpointConfig")
    if not configs:
        return None
    variant = configs[0]["Properties"]["ProductionVariants"][0]
    targets = _resources(templates, "AWS::ApplicationAutoScaling::ScalableTarget")
    fewest = int(variant["InitialInstanceCount"])
    most = int(targets[0]["Properties"]["MaxCapacity"]) if targets else fewest
    states = [
        template["Parameters"]["EndpointState"].get("Default", "off")
        for template in templates
        if "EndpointState" in template.get("Parameters", {})
    ]
    return Endpoint(variant["InstanceType"], fewest, most, "on" in states or not states)
