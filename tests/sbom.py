"""Hold lists of packages to the schema of CycloneDX: `python -m tests.sbom FILE ...`, as `make sbom` does once a list.

cyclonedx-py would do so itself, two seconds a list, nearly all of them in a parser of addresses that is written in
Python (`rfc3987-syntax`). jsonschema-rs, which schemathesis needs, holds lists to the same schema, addresses included,
in milliseconds.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs

_REFERRED = ("spdx", "jsf-0.82", "cryptography-defs")


def main(paths: list[str]) -> int:
    """Print how many are valid; where one is not, print why, and return 1."""
    if not paths:
        print("usage: python -m tests.sbom FILE ...", file=sys.stderr)
        return 2
    validators: dict[str, jsonschema_rs.Validator] = {}
    for path in map(Path, paths):
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["specVersion"]
        if version not in validators:
            validators[version] = _validator(version)
        try:
            validators[version].validate(document)
        except jsonschema_rs.ValidationError as error:
            print(f"{path} is no list of CycloneDX {version}:\n{error}", file=sys.stderr)
            return 1
    print(f"{len(paths)} lists, valid by the schema of CycloneDX {', '.join(sorted(validators))}")
    return 0


def _validator(version: str) -> jsonschema_rs.Validator:
    referred = [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", _schema(name)) for name in _REFERRED]
    registry = jsonschema_rs.Registry(referred, draft=jsonschema_rs.Draft7)
    return jsonschema_rs.Draft7Validator(_schema(f"bom-{version}"), registry=registry, validate_formats=True)


def _schema(name: str) -> Any:
    return json.loads((files("cyclonedx.schema") / "_res" / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
