"""Image assets do not run as root."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from stacks.policies.assembly import Assembly, Resource, Template
from stacks.policies.rule import Finding, Rule

_USER = re.compile(r"^\s*USER\s+(?P<user>\S+)", re.IGNORECASE | re.MULTILINE)


def _find(assembly: Assembly) -> Iterator[Finding]:
    for template in assembly.templates:
        for name, dockerfile in _dockerfiles(template):
            users = _USER.findall(dockerfile.read_text())
            if not users or users[-1].split(":")[0] in ("root", "0"):
                asset = Resource(template, name, "image asset", {})
                yield Finding(asset, f"USER in {dockerfile.name}", users[-1] if users else "absent, so root")


def _dockerfiles(template: Template) -> Iterator[tuple[str, Path]]:
    manifest = template.path.with_name(template.path.name.replace(".template.json", ".assets.json"))
    if not manifest.is_file():
        return
    for name, image in json.loads(manifest.read_text()).get("dockerImages", {}).items():
        source = image["source"]
        if "directory" in source:
            yield name, template.path.parent / source["directory"] / source.get("dockerFile", "Dockerfile")


RULE = Rule(
    id="BV-RootContainer",
    why="A hole in the server is then a hole in the container's every file.",
    fix="End the Dockerfile with a USER that is not root.",
    link="https://docs.aws.amazon.com/securityhub/latest/userguide/sagemaker-controls.html#sagemaker-3",
    find=_find,
)
