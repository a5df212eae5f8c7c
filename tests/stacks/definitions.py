"""Reads a pipeline definition: its steps, their references, and the requests that SageMaker makes of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from binventory.assembly.definitions import all_steps, defaults_of, step_named

__all__ = ["REQUESTS", "all_steps", "expressions", "named", "requests", "resolved"]
Json = dict[str, Any]
REQUESTS = {
    "Processing": ("CreateProcessingJob", {"ProcessingJobName": "pipelines-a1b2c3-Ingest-x"}),
    "Training": ("CreateTrainingJob", {"TrainingJobName": "pipelines-a1b2c3-Train-x"}),
    "Tuning": ("CreateHyperParameterTuningJob", {"HyperParameterTuningJobName": "a1b2c3-Tune-x"}),
    "RegisterModel": ("CreateModelPackage", {}),
}


def named(definition: Json, name: str) -> Json:
    """A step by its name."""
    step = step_named(definition, name)
    assert step is not None, f"the definition has no step {name}"
    return step


def resolved(value: Any, defaults: dict[str, Any]) -> Any:
    """A request as SageMaker makes it in an execution, with sample values for the outputs of earlier steps."""
    if isinstance(value, list):
        return [resolved(item, defaults) for item in value]
    if not isinstance(value, dict):
        return value.replace("<AWS::AccountId>", "123456789012") if isinstance(value, str) else value
    if "Get" in value:
        return _sample(value["Get"], defaults)
    if "Std:JsonGet" in value:
        return "value"
    if "Std:Join" in value:
        parts = [str(resolved(item, defaults)) for item in value["Std:Join"]["Values"]]
        return value["Std:Join"]["On"].join(parts)
    return {key: resolved(item, defaults) for key, item in value.items()}


def _sample(path: str, defaults: dict[str, Any]) -> Any:
    head, _, rest = path.partition(".")
    if head == "Parameters":
        return defaults[rest]
    if head == "Execution":
        return {"PipelineExecutionId": "a1b2c3", "PipelineExecutionArn": "arn:aws:sagemaker:r:1:pipeline/p"}[rest]
    if "TunedHyperParameters" in path:
        return "0.01"
    return "name" if path.endswith("Name") else "s3://bucket/key"


def expressions(value: Any) -> Iterator[str]:
    """Every `Get` in a value."""
    if isinstance(value, dict):
        if "Get" in value:
            yield value["Get"]
        for item in value.values():
            yield from expressions(item)
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item)


def requests(definition: Json) -> Iterator[tuple[str, str, Json]]:
    """Name, operation and request of every step that calls one."""
    defaults = defaults_of(definition)
    for step in all_steps(definition):
        if step["Type"] in REQUESTS:
            operation, name = REQUESTS[step["Type"]]
            text = {**name, **resolved(copy.deepcopy(step["Arguments"]), defaults)}
            yield step["Name"], operation, _with_plain_names(text)


def _with_plain_names(value: Any) -> Any:
    """Tokens of the template as the names CloudFormation puts there."""
    if isinstance(value, dict):
        return {key: _with_plain_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_plain_names(item) for item in value]
    if isinstance(value, str):
        value = re.sub(r"<[^<>]*\.Arn>", "arn:aws:iam::123456789012:role/name", value)
        return re.sub(r"<[^<>]*>", "name", value)
    return value
