"""The picture of the pipeline, from its definition, and of a model's way to the endpoint, from the templates."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from binventory.assembly.definitions import (
    PIPELINE,
    defaults_of,
    definition_of,
    job_arguments,
    machines_of,
    parameter_in,
)
from binventory.assembly.templates import only, resources
from docs.generate.svg import Box, arrow, picture

_WIDTH, _GAP, _TOP = 200, 40, 60
_KINDS = {
    "Lambda": "function",
    "Processing": "processing job",
    "Training": "training job",
    "Tuning": "tuning job",
    "Condition": "condition",
    "RegisterModel": "registration",
    "Fail": "end",
}
_SENTENCE = 25
"""Characters of a description in a line of a card."""


def pipeline_picture(templates: Mapping[str, dict[str, Any]]) -> str:
    """Two rows: the steps as they depend on each other, and what happens to the model afterwards."""
    definition = definition_of(only(templates["Training"], PIPELINE))
    defaults = defaults_of(definition)
    steps: list[dict[str, Any]] = definition["Steps"]
    boxes: dict[str, Box] = {}
    for number, step in enumerate(steps):
        boxes[step["Name"]] = _box(step, defaults, 20 + number % 4 * (_WIDTH + _GAP), 20 + number // 4 * 190)
    gate = boxes[steps[-1]["Name"]]
    outcomes = [step for key in ("IfSteps", "ElseSteps") for step in steps[-1]["Arguments"][key]]
    for number, step in enumerate(outcomes):
        y = gate.y + number * 132
        boxes[step["Name"]] = _box(step, defaults, gate.x + _WIDTH + _GAP + 30, y)
    parts = [_between(boxes[before], boxes[after]) for before, after in _edges(steps, boxes)]
    for number, (word, step) in enumerate(zip(("yes", "no"), outcomes, strict=True)):
        parts.append(_to_outcome(gate, boxes[step["Name"]], word, number))
    after = _afterwards(templates, y=max(box.y + box.height for box in boxes.values()) + _TOP)
    parts += _chain(boxes[outcomes[0]["Name"]], after)
    bottom = max(box.y + box.height for box in after)
    return picture(
        "The pipeline, and the way of a model to the endpoint",
        20 + 4 * (_WIDTH + _GAP) + 30,
        bottom + 20,
        [*parts, *(box.draw() for box in [*boxes.values(), *after])],
    )


def _box(step: dict[str, Any], defaults: Mapping[str, Any], x: int, y: int) -> Box:
    kind = _KINDS[step["Type"]]
    spot = ", spot" if job_arguments(step).get("EnableManagedSpotTraining") else ""
    machine = parameter_in(machines_of(step).get("InstanceType"))
    lines = [f"·{kind}{spot}"]
    if machine:
        lines.append(f"·{defaults[machine]}")
    return Box(step["Name"], [*lines, *_wrapped(step.get("Description", ""))], x, y, _WIDTH)


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= _SENTENCE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [line for line in lines if line]


def _edges(steps: list[dict[str, Any]], boxes: Mapping[str, Box]) -> list[tuple[str, str]]:
    """Each step after the last of those whose results it reads."""
    order = list(boxes)
    found = []
    for step in steps:
        text = json.dumps(step)
        read = {name for name in re.findall(r"Steps\.(\w+)", text) if name in boxes and name != step["Name"]}
        earlier = [name for name in read if order.index(name) < order.index(step["Name"])]
        if earlier:
            found.append((max(earlier, key=order.index), step["Name"]))
    return found


def _between(before: Box, after: Box) -> str:
    if before.y == after.y:
        y = before.y + 30
        return arrow([(before.x + before.width, y), (after.x, y)])
    # On to the next row: down, and along between the rows.
    start = (before.x + before.width // 2, before.y + before.height)
    middle = after.y - 15
    end = after.x + after.width // 2
    return arrow([start, (start[0], middle), (end, middle), (end, after.y)])


def _to_outcome(gate: Box, outcome: Box, word: str, number: int) -> str:
    start = (gate.x + gate.width, gate.y + 30 + 14 * number)
    turn = gate.x + gate.width + 28
    end_y = outcome.y + 30
    if number == 0:
        return arrow([start, (outcome.x, end_y)], word)
    return arrow([start, (turn, start[1]), (turn, end_y), (outcome.x, end_y)], word)


def _afterwards(templates: Mapping[str, dict[str, Any]], y: int) -> list[Box]:
    """The way of a registered model, each card from a resource that the templates really have."""
    rule = _one(templates["Training"], "AWS::Events::Rule", "Name", "model-package")
    comparison = _one(templates["Training"], "AWS::Lambda::Function", "FunctionName", "reconcile")
    endpoint = _one(templates["Serving"], "AWS::SageMaker::Endpoint", "EndpointName", "")
    monitor = _one(templates["Monitoring"], "AWS::Lambda::Function", "FunctionName", "drift-monitor")
    cards = [
        ("A person approves", ["·event rule", f"·{rule['Name'].removeprefix(endpoint['EndpointName'] + '-')}"], False),
        ("Promotion", ["·function", *_wrapped(comparison["Description"])], False),
        ("Endpoint", [f"·{endpoint['EndpointName']}", "canary or all at once,", "alarms, rollback"], True),
        ("Drift monitor", ["·function, by the clock", *_wrapped(monitor["Description"])], False),
    ]
    return [
        Box(title, lines, 20 + number * (_WIDTH + _GAP), y, _WIDTH, strong=title == "Endpoint", off=off)
        for number, (title, lines, off) in enumerate(cards)
    ]


def _one(template: dict[str, Any], kind: str, key: str, end: str) -> dict[str, Any]:
    (found,) = (
        item["Properties"]
        for item in resources(template, kind).values()
        if str(item["Properties"].get(key, "")).endswith(end)
    )
    return dict(found)


def _chain(registered: Box, after: list[Box]) -> list[str]:
    first = after[0]
    turn = first.y - 20
    corner = registered.x + registered.width + 12
    middle = registered.y + registered.height // 2
    end = first.x + first.width // 2
    parts = [
        arrow(
            [(registered.x + registered.width, middle), (corner, middle), (corner, turn), (end, turn), (end, first.y)]
        )
    ]
    parts += [
        arrow([(left.x + left.width, left.y + 30), (right.x, right.y + 30)])
        for left, right in itertools.pairwise(after)
    ]
    return parts
