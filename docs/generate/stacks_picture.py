"""The picture of the stacks, their resources and their dependencies, from the synthesized templates."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from binventory.assembly.templates import resources
from docs.generate.svg import Box, arrow, picture

# What people look for, in the order in which it is listed; everything else is summed up.
_SHOWN = {
    "AWS::S3::Bucket": ("bucket", None),
    "AWS::SageMaker::Pipeline": ("pipeline", "PipelineName"),
    "AWS::SageMaker::ModelPackageGroup": ("model package group", "ModelPackageGroupName"),
    "AWS::SageMaker::Endpoint": ("endpoint", "EndpointName"),
    "AWS::SageMaker::EndpointConfig": ("endpoint configuration", None),
    "AWS::SageMaker::Model": ("model", None),
    "AWS::ApplicationAutoScaling::ScalingPolicy": ("scaling policy", "PolicyName"),
    "AWS::CloudWatch::Dashboard": ("dashboard", "DashboardName"),
    "AWS::Budgets::Budget": ("budget", None),
    "AWS::SNS::Topic": ("topic", None),
    "AWS::Lambda::Function": ("function", "FunctionName"),
    "AWS::Scheduler::Schedule": ("schedule", None),
    "AWS::Events::Rule": ("event rule", "Name"),
    "AWS::CloudWatch::Alarm": ("alarm", "AlarmName"),
}
_PLURALS = {"policy": "policies"}
_COLUMN, _GAP, _DOWN = 290, 30, 60
_COLUMNS = 3


def stacks_picture(templates: Mapping[str, dict[str, Any]]) -> str:
    """One card a stack, in rows: a stack stands below those whose outputs it reads."""
    needs = {name: _needs(name, templates) for name in templates}
    boxes: dict[str, Box] = {}
    y = 20
    for row in _rows(needs):
        made = []
        for column, name in enumerate(row):
            x = 20 + column * (_COLUMN + _GAP)
            made.append(Box(_title(name), list(_lines(templates[name])), x, y, _COLUMN, strong=name == "Serving"))
            boxes[name] = made[-1]
        y += max(box.height for box in made) + _DOWN
    arrows = [
        _arrow(boxes[source], boxes[name], number)
        for name, sources in needs.items()
        for number, source in enumerate(sorted(sources))
    ]
    width = 20 * 2 + _COLUMNS * _COLUMN + (_COLUMNS - 1) * _GAP
    parts = [*arrows, *(box.draw() for box in boxes.values())]
    return picture("The stacks of an environment and what is in them", width, y - _DOWN + 20, parts)


def _title(name: str) -> str:
    return f"{name} stack"


def _needs(name: str, templates: Mapping[str, dict[str, Any]]) -> set[str]:
    """Stacks whose outputs this one reads."""
    text = json.dumps(templates[name])
    outputs = set(re.findall(r'"Fn::ImportValue": "[\w-]+-(\w+):', text))
    return {other for other in templates if other.lower() in outputs and other != name}


def _rows(needs: Mapping[str, set[str]]) -> list[list[str]]:
    """Layers by dependency, none wider than the picture."""
    layers: dict[str, int] = {}

    def layer(name: str) -> int:
        if name not in layers:
            layers[name] = 1 + max((layer(other) for other in needs[name]), default=-1)
        return layers[name]

    depth = max(map(layer, needs))
    rows = [sorted(name for name in needs if layer(name) == level) for level in range(depth + 1)]
    return [row[at : at + _COLUMNS] for row in rows for at in range(0, len(row), _COLUMNS)]


def _lines(template: dict[str, Any]) -> Iterator[str]:
    """The resources of a stack: those people look for by name, the rest by number."""
    head, _, purpose = str(template["Description"]).partition(": ")
    switched = any("Condition" in resource for resource in resources(template).values())
    yield f"·{purpose}{', while it is switched on' if switched else ''}"
    prefix = head.lower().replace(" ", "-")
    kinds = Counter(resource["Type"] for resource in resources(template).values())
    for kind, (word, property_) in _SHOWN.items():
        found = list(resources(template, kind).values())
        if not found:
            continue
        named = (item["Properties"].get(property_) for item in found)
        names = sorted(str(name).removeprefix(f"{prefix}-") for name in named if isinstance(name, str))
        if len(names) == len(found) == 1:
            yield f"{word} {names[0]}"
        else:
            yield _number(len(found), word)
            if len(names) == len(found):
                yield from (f"·\u2003{name}" for name in names)
    rest = sum(number for kind, number in kinds.items() if kind not in _SHOWN and not kind.startswith("AWS::IAM"))
    rights = kinds["AWS::IAM::Role"]
    more = [_number(rights, "role")] if rights else []
    if rest:
        more.append(_number(rest, "other resource"))
    yield "·" + ", ".join(more)


def _number(count: int, word: str) -> str:
    if count == 1:
        return f"1 {word}"
    first, _, last = word.rpartition(" ")
    plural = _PLURALS.get(last, f"{last}s")
    return f"{count} {first} {plural}".replace("  ", " ")


def _arrow(source: Box, target: Box, number: int) -> str:
    """From the bottom of what is needed to the top of what needs it."""
    start = source.x + source.width // 2 + 24 * (number - 1)
    end = target.x + target.width // 2 + 30 * (number - 1)
    top = source.y + source.height
    middle = target.y - _DOWN // 2 + 8 * number
    return arrow([(start, top), (start, middle), (end, middle), (end, target.y)])
