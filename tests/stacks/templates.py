"""Templates as the tests look at them: synthesized in this process, with CloudFormation's functions made readable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk as cdk

import app as application
from stacks.settings import Settings, load

Resource = dict[str, Any]
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


def resources(template: dict[str, Any], kind: str) -> dict[str, Resource]:
    """The resources of one type by logical id."""
    return {name: item for name, item in template["Resources"].items() if item["Type"] == kind}


def only(template: dict[str, Any], kind: str) -> Resource:
    """The only resource of a type."""
    (resource,) = resources(template, kind).values()
    return resource


def flat(value: Any) -> str:
    """A value as text; parts that CloudFormation will fill in are in angle brackets."""
    if isinstance(value, str):
        return value
    (function, argument), *_ = value.items()
    if function == "Fn::Join":
        separator, parts = argument
        return str(separator).join(flat(part) for part in parts)
    if function == "Fn::Sub":
        return str(argument).replace("${", "<").replace("}", ">")
    if function == "Fn::GetAtt":
        return f"<{'.'.join(argument)}>"
    if function == "Fn::GetStackOutput":
        return f"<{argument['StackName']}.{argument['OutputName']}>"
    return f"<{argument}>"


def statements(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every role's policies, with the policy's logical id."""
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for name, policy in resources(template, kind).items():
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                yield name, statement
    for name, role in resources(template, "AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def as_list(value: Any) -> list[Any]:
    """CloudFormation writes a list of one as the one."""
    return value if isinstance(value, list) else [value]


def pipeline_definition(template: dict[str, Any]) -> dict[str, Any]:
    """The definition inside the training stack's pipeline."""
    body = only(template, "AWS::SageMaker::Pipeline")["Properties"]["PipelineDefinition"]["PipelineDefinitionBody"]
    definition: dict[str, Any] = json.loads(flat(body))
    return definition
