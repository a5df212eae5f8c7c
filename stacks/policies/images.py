"""The images that jobs and endpoint run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from stacks.policies.assembly import Assembly, Resource, Template, flatten
from stacks.policies.rule import Finding, Rule

# Newest version of AWS's PyTorch images that is no longer patched, as of 2026-11: 2.9 ended on 2026-10-15, 2.10 ends
# on 2027-01-21, and the last inference image on 2026-06-30. IMAGES.link lists the dates.
_LAST_UNPATCHED = {"pytorch": (2, 9), "pytorch-training": (2, 9), "pytorch-inference": (2, 6)}
_AWS_IMAGE = re.compile(r"763104351884\.dkr\.ecr\.[\w-]+\.[\w.]+/(?P<repository>[\w-]+):(?P<major>\d+)\.(?P<minor>\d+)")
_OWN_IMAGE = re.compile(r"(<AWS::AccountId>|\d{12})\.dkr\.ecr\.[\w<>:.-]+/[\w<>:./-]+(:|@sha256:)[\w<>.-]+")


def _unknown_images(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.steps:
        if step.type == "Condition":
            continue  # the steps of its branches are listed themselves
        for argument, image in _images(step.arguments):
            if problem := _problem(image):
                yield Finding.in_step(step, argument, f"{image} ({problem})")
    for model in assembly.of_type("AWS::SageMaker::Model"):
        containers = [model.properties.get("PrimaryContainer", {}), *model.properties.get("Containers", [])]
        for container in containers:
            image = flatten(container.get("Image", ""))
            if image and (problem := _problem(image)):
                yield Finding(model, "Image", f"{image} ({problem})")


def _images(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("TrainingImage", "ImageUri", "Image") and isinstance(inner, str):
                yield f"{path}{key}", inner
            else:
                yield from _images(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from _images(inner, path)


def _problem(image: str) -> str:
    if match := _AWS_IMAGE.match(image):
        last = _LAST_UNPATCHED.get(match["repository"])
        if last is None:
            return "not one of AWS's PyTorch repositories"
        version = (int(match["major"]), int(match["minor"]))
        return "out of patching" if version <= last else ""
    if image.endswith(":latest"):
        return "a tag that moves"
    return "" if _OWN_IMAGE.match(image) else "a registry that is neither AWS's nor the account's"


IMAGES = Rule(
    id="BV-Images",
    why="An image from elsewhere, or one that is no longer patched, runs with the job's rights on the account's data.",
    fix="Use AWS's PyTorch training image in a supported training.framework_version, or an image of the account.",
    link="https://aws.github.io/deep-learning-containers/reference/support_policy/",
    find=_unknown_images,
)


_USER = re.compile(r"^\s*USER\s+(?P<user>\S+)", re.IGNORECASE | re.MULTILINE)


def _other_user(assembly: Assembly) -> Iterator[Finding]:
    for template in assembly.templates:
        for name, dockerfile in _dockerfiles(template):
            users = _USER.findall(dockerfile.read_text())
            if users and users[-1].split(":")[0] not in ("root", "0"):
                yield Finding(Resource(template, name, "image asset", {}), f"USER in {dockerfile.name}", users[-1])


def _dockerfiles(template: Template) -> Iterator[tuple[str, Path]]:
    manifest = template.path.with_name(template.path.name.replace(".template.json", ".assets.json"))
    if not manifest.is_file():
        return
    for name, image in json.loads(manifest.read_text()).get("dockerImages", {}).items():
        source = image["source"]
        if "directory" in source:
            yield name, template.path.parent / source["directory"] / source.get("dockerFile", "Dockerfile")


CONTAINER_USER = Rule(
    id="BV-ContainerUser",
    why="SageMaker expects containers to run as root, and may give another user files that it cannot read.",
    fix="Leave USER out of the Dockerfile or name root; the program may give up root once it has read the model.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html",
    find=_other_user,
)

RULES = (IMAGES, CONTAINER_USER)
