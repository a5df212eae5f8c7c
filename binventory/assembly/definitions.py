"""Reads SageMaker pipeline definitions: their parameters, their steps, and the arguments of a step's job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from binventory.assembly.templates import Json, flatten, resources
from binventory.core.errors import Exit, Problem

Definition = dict[str, Any]
PIPELINE = "AWS::SageMaker::Pipeline"
_OURS = "name the assembly of this project's stacks, such as cdk.out after: npx cdk synth --quiet"


def definitions(templates: Sequence[Json]) -> list[Definition]:
    """The definition of each pipeline, the one with the most steps first: it is the whole, others continue from it.

    Raises:
        Problem: there is no pipeline, or the definition of one cannot be read.
    """
    found = [definition_of(pipeline) for template in templates for pipeline in resources(template, PIPELINE).values()]
    if not found:
        raise Problem("There is no pipeline", "no stack of the assembly has one", _OURS, code=Exit.USAGE)
    return sorted(found, key=lambda definition: -len(definition["Steps"]))


def definition_of(pipeline: Json) -> Definition:
    """The definition inside a resource of the type `AWS::SageMaker::Pipeline`.

    Raises:
        Problem: there is none, as where it lies in S3, or it is not as SageMaker wants it.
    """
    properties = pipeline["Properties"]
    try:
        definition = json.loads(flatten(properties["PipelineDefinition"]["PipelineDefinitionBody"]))
        if not isinstance(definition["Steps"], list):
            raise TypeError("its Steps are no list")
        return dict(definition)
    except (ValueError, LookupError, TypeError) as error:
        name = flatten(properties.get("PipelineName", "without a name"))
        raise Problem(
            f"The definition of the pipeline {name} cannot be read",
            f"in its template, PipelineDefinitionBody is not as the stacks write it: {type(error).__name__}: {error}",
            _OURS,
            code=Exit.USAGE,
        ) from error


def defaults_of(definition: Definition) -> dict[str, Any]:
    """The default of each pipeline parameter; None for a parameter without one."""
    return {item["Name"]: item.get("DefaultValue") for item in definition.get("Parameters", [])}


def all_steps(definition: Definition) -> Iterator[Json]:
    """Every step, with the steps of a condition's branches after the condition."""
    return _walk(definition["Steps"])


def _walk(steps: Sequence[Json]) -> Iterator[Json]:
    for step in steps:
        yield step
        if step["Type"] == "Condition":
            arguments = step.get("Arguments", {})
            yield from _walk(arguments.get("IfSteps", []))
            yield from _walk(arguments.get("ElseSteps", []))


def step_named(definition: Definition, name: str) -> Json | None:
    """The step with this name, wherever it is in the definition."""
    return next((step for step in all_steps(definition) if step["Name"] == name), None)


def job_arguments(step: Json) -> Json:
    """The request of a step's job; of a tuning step, the request of its trials."""
    arguments: Json = step.get("Arguments", {})
    return dict(arguments.get("TrainingJobDefinition", arguments))


def machines_of(step: Json) -> Json:
    """Instance type, count and volume of a training, tuning or processing step; empty for other steps."""
    arguments = job_arguments(step)
    return dict(arguments.get("ResourceConfig") or arguments.get("ProcessingResources", {}).get("ClusterConfig", {}))


def parameter_in(value: Any) -> str | None:
    """The name of the pipeline parameter that a value reads: `{"Get": "Parameters.Epochs"}` reads `Epochs`."""
    get = value.get("Get") if isinstance(value, dict) else None
    return get.removeprefix("Parameters.") if isinstance(get, str) and get.startswith("Parameters.") else None


def with_parameters(value: Any, parameters: Mapping[str, Any]) -> Any:
    """The value with each pipeline parameter that it reads replaced; None in place of an unknown one."""
    if (name := parameter_in(value)) is not None:
        return parameters.get(name)
    if isinstance(value, dict):
        return {key: with_parameters(inner, parameters) for key, inner in value.items()}
    return [with_parameters(inner, parameters) for inner in value] if isinstance(value, list) else value


def instance_parameters(definition: Definition) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By step: the parameter that sets its instance type, and the types that the parameter allows."""
    allowed = {item["Name"]: tuple(item.get("EnumValues", ())) for item in definition.get("Parameters", [])}
    return {
        step["Name"]: (name, allowed.get(name, ()))
        for step in all_steps(definition)
        if (name := parameter_in(machines_of(step).get("InstanceType"))) is not None
    }
