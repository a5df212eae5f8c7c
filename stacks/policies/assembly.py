"""Reads synthesized templates for the rules: resources, and the steps inside pipeline definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from binventory.assembly import templates
from binventory.assembly.definitions import all_steps, defaults_of, definition_of
from binventory.assembly.templates import Json, as_list, flatten

__all__ = ["Assembly", "Json", "Resource", "SynthesizedStep", "Template", "as_list", "flatten", "statements"]


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

    @cached_property
    def definition(self) -> Json:
        """The definition inside a pipeline."""
        return definition_of({"Properties": self.properties})


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
        return defaults_of(self.pipeline.definition).get(parameter)

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
            SynthesizedStep(pipeline, step["Name"], step["Type"], step.get("Arguments", {}))
            for pipeline in self.of_type("AWS::SageMaker::Pipeline")
            for step in all_steps(pipeline.definition)
        )

    def jobs(self) -> Iterator[SynthesizedStep]:
        """The steps that start a job."""
        return (step for step in self.steps if step.type in ("Training", "Tuning", "Processing", "Transform"))


def statements(assembly: Assembly) -> Iterator[tuple[Resource, Json]]:
    """Every statement that an identity policy or an inline policy of a role makes."""
    by_id = {(resource.template.stack, resource.logical_id): resource for resource in assembly.resources}
    for template in assembly.templates:
        for logical_id, statement in templates.statements(template.body):
            yield by_id[template.stack, logical_id], statement
