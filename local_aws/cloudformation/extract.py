"""`python -m local_aws.cloudformation.extract`: writes resource_types.json from the database of the pinned CDK CLI.

The database (node_modules/aws-cdk/db.json.gz) is CDK's copy of AWS's resource schemas. Reading it takes half a second,
so the names of the properties are extracted once, for the types that the local AWS can make.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from local_aws.cloudformation import RESOURCE_TYPES
from local_aws.cloudformation.property_names import EXTRACT
from local_aws.ministack.stack_resources import resource_types

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
DATABASE: Final = REPOSITORY / "node_modules" / "aws-cdk" / "db.json.gz"
_TAG: Final = {"Key": {"required": True}, "Value": {}}
_ALTERNATIVES: Final = {("PipelineDefinition", "PipelineDefinitionBody")}
"""A structure and a property that the database calls required, though AWS's schema takes another in its place."""
Structures = dict[str, dict[str, Any]]


def extracted(database: Path) -> str:
    """The text of resource_types.json: one line for each type."""
    schema = json.loads(gzip.decompress(database.read_bytes()))["schema"]
    definitions = {item["$id"]: item for item in schema["typeDefinition"]["entities"]}
    made = resource_types() | {kind.name for kind in RESOURCE_TYPES}
    found = {
        item["cloudFormationType"]: _structures(item["properties"], definitions)
        for item in schema["resource"]["entities"]
        if item["cloudFormationType"] in made
    }
    lines = [f"{json.dumps(name)}: {json.dumps(found[name], separators=(',', ':'))}" for name in sorted(found)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _structures(properties: Mapping[str, Any], definitions: Mapping[str, Any]) -> Structures:
    """The properties of a type, under the empty name, and those of the structures in them, each under a name."""
    names: dict[str, str] = {}
    found: Structures = {}

    def structure(stated: Mapping[str, Any], of: str = "") -> dict[str, Any]:
        return {name: described(stated[name], required=(of, name) not in _ALTERNATIVES) for name in sorted(stated)}

    def described(stated: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
        references, is_map = _references(stated["type"])
        item = {"required": True} if required and stated.get("required") else {}
        item |= {"map": True} if is_map and references else {}
        return item | ({"of": list(map(named, references))} if references else {})

    def named(reference: str) -> str:
        if reference == "tag":
            found["Tag"] = _TAG
            return "Tag"
        if reference not in names:
            definition = definitions[reference]
            taken = sum(other.partition(".")[0] == definition["name"] for other in names.values())
            names[reference] = definition["name"] + (f".{taken}" if taken else "")
            found[names[reference]] = {}  # its own place first: a structure may be in itself
            found[names[reference]] = structure(definition["properties"], definition["name"])
        return names[reference]

    own = structure(properties)
    return {"": own} | {name: found[name] for name in sorted(found)}


def _references(stated: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The structures that a property of this type may hold, in lists too, and whether it holds them under free names.

    Empty where it may also hold an object of any names.
    """
    kinds = list(_alternatives(stated))
    objects = [kind for kind in kinds if kind["type"] in ("ref", "tag", "json", "map")]
    if objects and all(kind["type"] == "map" for kind in objects):
        inner = [_references(kind["element"]) for kind in objects]
        if any(is_map for _, is_map in inner):
            return [], False  # maps of maps are not checked
        return [reference for references, _ in inner for reference in references], True
    if any(kind["type"] in ("json", "map") for kind in objects):
        return [], False
    return [kind["reference"]["$ref"] if kind["type"] == "ref" else "tag" for kind in objects], False


def _alternatives(stated: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if stated["type"] == "array":
        yield from _alternatives(stated["element"])
    elif stated["type"] == "union":
        for item in stated["types"]:
            yield from _alternatives(item)
    else:
        yield stated


if __name__ == "__main__":
    EXTRACT.write_text(extracted(DATABASE))
