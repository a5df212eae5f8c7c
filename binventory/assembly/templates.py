"""Reads CloudFormation templates: the stacks of a cloud assembly, their resources and IAM statements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from binventory.core.errors import Exit, Problem

Json = dict[str, Any]
_SYNTHESIZE: Final = "synthesize first: npx cdk synth --quiet"


@dataclass(frozen=True)
class SynthesizedStack:
    """One stack of a cloud assembly."""

    id: str
    """The artifact's id in the manifest: `Storage`."""
    name: str
    """CloudFormation's name: `binventory-dev-storage`."""
    region: str
    environment: str
    """The environment that its tags name, such as `dev`; empty without the tag."""
    template: Json


def read_stacks(folder: Path) -> tuple[SynthesizedStack, ...]:
    """Reads a cloud assembly folder such as cdk.out, in the order of its manifest.

    Raises:
        Problem: the folder is no cloud assembly, is not as the CDK writes one, or holds no stack.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise Problem(
            f"{folder} is no cloud assembly",
            "there is no manifest.json in it",
            _SYNTHESIZE,
            code=Exit.USAGE,
        )
    try:
        found = tuple(_stacks(folder, json.loads(manifest.read_text())))
    # Any JSON may be there: another program's manifest, or a file that was cut.
    except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError) as error:
        raise Problem(
            f"The cloud assembly {folder} cannot be read",
            f"manifest.json, or a template that it names, is not as the CDK writes it: {type(error).__name__}: {error}",
            _SYNTHESIZE,
            code=Exit.USAGE,
        ) from error
    if not found:
        raise Problem(
            f"The cloud assembly {folder} holds no stack",
            "its manifest.json names none; the stacks of a stage are in an assembly of their own",
            f"name the folder that has them, or {_SYNTHESIZE}",
            code=Exit.USAGE,
        )
    return found


def _stacks(folder: Path, manifest: Json) -> Iterator[SynthesizedStack]:
    for name, artifact in manifest["artifacts"].items():
        if artifact["type"] == "aws:cloudformation:stack":
            yield SynthesizedStack(
                id=name,
                name=str(artifact["properties"].get("stackName", "")),
                region=artifact["environment"].rsplit("/", 1)[-1],
                environment=artifact["properties"].get("tags", {}).get("environment", ""),
                template=json.loads((folder / artifact["properties"]["templateFile"]).read_text()),
            )


def resources(template: Json, *types: str) -> dict[str, Json]:
    """The resources of these CloudFormation types by logical id; all of them where no type is given."""
    return {
        name: resource
        for name, resource in template.get("Resources", {}).items()
        if not types or resource["Type"] in types
    }


def only(template: Json, resource_type: str) -> Json:
    """The only resource of a type. Raises ValueError where there are none or several."""
    (resource,) = resources(template, resource_type).values()
    return resource


def flatten(value: Any) -> str:
    """A CloudFormation value as text, with `<...>` in place of what only the deployment knows."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not value:
        return str(value)
    function, argument = next(iter(value.items()))
    if function == "Fn::Join":
        separator, parts = argument
        return str(separator).join(flatten(part) for part in parts)
    if function == "Fn::Sub" and isinstance(argument, str):
        return argument.replace("${", "<").replace("}", ">")
    if function == "Ref":
        return f"<{argument}>"
    if function == "Fn::GetAtt":
        return f"<{'.'.join(argument)}>"
    if function == "Fn::ImportValue" and isinstance(argument, str):
        return f"<{argument.replace(':', '.')}>"
    # Without double quotes, because the text may be part of a JSON string.
    return f"<{json.dumps(value, sort_keys=True)}>".replace('"', "'")


def as_list(value: Any) -> list[Any]:
    """CloudFormation and IAM write a list of one element as the element itself."""
    return value if isinstance(value, list) else [value]


def statements(template: Json) -> Iterator[tuple[str, Json]]:
    """Every statement of every policy, with the logical id of the policy or, for inline policies, of the role."""
    for name, resource in resources(template, "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role").items():
        properties = resource.get("Properties", {})
        documents = [properties.get("PolicyDocument", {})]
        documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for document in documents:
            for statement in as_list(document.get("Statement", [])):
                yield name, statement
