"""Reads synthesized templates for the rules: resources, and the steps inside pipeline definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """One stack's template."""

    stack: str  # construct path of the stack
    path: Path  # file on disk
    body: Json


@dataclass(frozen=True)
class Resource:
    """One resource of a template."""

    template: Template
    logical_id: str
    type: str
    properties: Json

    @property
    def tags(self) -> dict[str, str]:
        """Its tags; some types write them as a map and some as a list."""
        tags = self.properties.get("Tags", {})
        return dict(tags) if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}


@dataclass(frozen=True)
class SynthesizedStep:
    """One step of a SageMaker pipeline, conditions' branches included."""

    pipeline: Resource
    name: str
    type: str
    arguments: Json

    @property
    def job(self) -> Json:
        """The definition of its job: the arguments, or for a tuning job the definition of its trials."""
        found: Json = self.arguments.get("TrainingJobDefinition", self.arguments)
        return found

    def default_of(self, parameter: str) -> Any:
        """Default of a pipeline parameter; None without such a parameter."""
        defaults = {item["Name"]: item.get("DefaultValue") for item in _definition(self.pipeline)["Parameters"]}
        return defaults.get(parameter)

    @property
    def instance_count(self) -> Any:
        """Number of machines, or the pipeline parameter that gives it."""
        cluster = self.job.get("ResourceConfig") or self.job.get("ProcessingResources", {}).get("ClusterConfig", {})
        return cluster.get("InstanceCount", 1)


class Assembly:
    """Every template of an app."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self.templates = tuple(templates)

    @classmethod
    def read(cls, files: Sequence[tuple[str, str]]) -> Assembly:
        """Reads templates given as (construct path of the stack, path of the file)."""
        return cls([Template(stack, Path(path), json.loads(Path(path).read_text())) for stack, path in files])

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        """Every resource of every template."""
        return tuple(
            Resource(template, logical_id, body["Type"], body.get("Properties", {}))
            for template in self.templates
            for logical_id, body in template.body.get("Resources", {}).items()
        )

    def of_type(self, *types: str) -> Iterator[Resource]:
        """The resources of these CloudFormation types."""
        return (resource for resource in self.resources if resource.type in types)

    @cached_property
    def steps(self) -> tuple[SynthesizedStep, ...]:
        """Every step of every pipeline."""
        return tuple(
            step
            for pipeline in self.of_type("AWS::SageMaker::Pipeline")
            for step in _steps(pipeline, _definition(pipeline)["Steps"])
        )

    def jobs(self) -> Iterator[SynthesizedStep]:
        """The steps that start a job."""
        return (step for step in self.steps if step.type in ("Training", "Tuning", "Processing", "Transform"))


def flatten(value: Any) -> str:
    """A CloudFormation value as text, with `<...>` for values that only the deployment knows."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return str(value)
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(flatten(part) for part in parts)
    if "Fn::Sub" in value and isinstance(value["Fn::Sub"], str):
        return str(value["Fn::Sub"]).replace("${", "<").replace("}", ">")
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    # No double quotes: the text may stand inside a JSON string.
    return f"<{json.dumps(value, sort_keys=True)}>".replace('"', "'")


def as_list(value: Any) -> list[Any]:
    """IAM writes one value as itself and several as a list."""
    return value if isinstance(value, list) else [value]


def statements(assembly: Assembly) -> Iterator[tuple[Resource, Json]]:
    """Every statement that an identity policy or an inline policy of a role makes."""
    for resource in assembly.of_type("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role"):
        documents = [resource.properties.get("PolicyDocument", {})]
        documents += [policy["PolicyDocument"] for policy in resource.properties.get("Policies", [])]
        for document in documents:
            for statement in as_list(document.get("Statement", [])):
                yield resource, statement


def _definition(pipeline: Resource) -> Json:
    parsed: Json = json.loads(flatten(pipeline.properties["PipelineDefinition"]["PipelineDefinitionBody"]))
    return parsed


def _steps(pipeline: Resource, raw: Sequence[Json]) -> Iterator[SynthesizedStep]:
    for step in raw:
        arguments = step.get("Arguments", {})
        yield SynthesizedStep(pipeline, step["Name"], step["Type"], arguments)
        if step["Type"] == "Condition":
            yield from _steps(pipeline, arguments.get("IfSteps", []))
            yield from _steps(pipeline, arguments.get("ElseSteps", []))
