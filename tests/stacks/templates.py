"""Templates as the tests look at them: synthesized in this process, with CloudFormation's functions made readable."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk as cdk

import app as application
from binventory.assembly.definitions import PIPELINE, definition_of
from binventory.assembly.templates import as_list, only, resources, statements
from binventory.assembly.templates import flatten as flat
from stacks.settings import Settings, load

__all__ = [
    "as_list",
    "changed",
    "flat",
    "only",
    "pipeline_definition",
    "resources",
    "statements",
    "synthesize",
    "templates",
]
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def synthesize(settings: Settings) -> dict[str, dict[str, Any]]:
    """The templates by the construct id of their stack."""
    context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
    app = cdk.App(context=context, builtin_cloud_formation_validation=False, analytics_reporting=False)
    application.build(app, settings)
    assembly = app.synth()
    return {stack.id.split(".")[0]: stack.template for stack in assembly.stacks}


@cache
def templates(environment: str) -> dict[str, dict[str, Any]]:
    """The templates of an environment as it is shipped; read only."""
    return synthesize(load(environment))


def changed(settings: Settings, section: str, **values: object) -> Settings:
    """The settings with some fields of one section changed and checked again."""
    document = settings.model_dump()
    document[section].update(values)
    return type(settings).model_validate(document)


def pipeline_definition(template: dict[str, Any]) -> dict[str, Any]:
    """The definition inside the training stack's pipeline."""
    return definition_of(only(template, PIPELINE))
