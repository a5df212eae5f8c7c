"""The pipelines that continue a stopped execution on demand, from the step that lost its spot capacity too often.

A running execution cannot change to on demand: `MaxWaitTimeInSeconds` is required on spot and refused on demand, and an
expression can set a value but not omit a member. Branches of a condition cannot join again either. So each step on
spot capacity has a pipeline that starts with it. Results of the steps before it are parameters, named below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stacks.names import (
    CONTINUED_EXECUTION,
    EMBED,
    FINGERPRINT,
    INGEST,
    SEAL,
    SHARDS,
    SPOT_STEPS,
    TUNE,
    continuing_pipeline,
)
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.definition import steps
from stacks.pipeline.parameters import Parameters
from stacks.vocabulary import SPLITS

_NAMES = {
    f"Steps.{FINGERPRINT}.OutputParameters['Weights']": "WeightsFingerprint",
    **{f"Steps.{INGEST}.ProcessingOutputConfig.Outputs['{split}'].S3Output.S3Uri": f"{split.capitalize()}Shards"
       for split in SPLITS},
    f"Steps.{INGEST}.ProcessingOutputConfig.Outputs['report'].S3Output.S3Uri": "IngestReport",
    f"Steps.{SEAL}.OutputParameters['{SHARDS}']": "SealedShards",
    f"Steps.{EMBED}.ModelArtifacts.S3ModelArtifacts": "Embedding",
    f"Steps.{TUNE}.HyperParameterTuningJobName": "TuningJob",
    f"Steps.{TUNE}.BestTrainingJob.TunedHyperParameters['lr']": "LearningRate",
    f"Steps.{TUNE}.BestTrainingJob.TunedHyperParameters['batch-size']": "BatchSize",
}  # fmt: skip
# Of what `tuning.ranges` adds to the search.
_SEARCHED = re.compile(rf"Steps\.{TUNE}\.BestTrainingJob\.TunedHyperParameters\['([a-z-]+)'\]")


@dataclass(frozen=True)
class Continuation:
    """A pipeline that continues an execution."""

    name: str
    first: str
    """Its first step."""
    definition: dict[str, Any]
    given: dict[str, str]
    """Parameters that take the results of earlier steps: the path of the step's property by the parameter's name."""


def continuations(context: PipelineContext) -> tuple[Continuation, ...]:
    """The pipelines, one for each step on spot capacity. The settings of the context must have spot off."""
    return tuple(_continuation(context, first) for first in SPOT_STEPS)


def _continuation(context: PipelineContext, first: str) -> Continuation:
    rendered = [step.render() for step in steps(context)]
    kept, given = cut(rendered, first)
    used = set(_parameters_in(kept))
    parameters = [item.render() for item in Parameters.of(context.settings).all() if item.name in used]
    # No default: an execution must name what it continues.
    parameters += [{"Name": name, "Type": "String"} for name in sorted(used & {*given, CONTINUED_EXECUTION})]
    definition = {"Version": "2020-12-01", "Metadata": {}, "Parameters": parameters, "Steps": kept}
    return Continuation(continuing_pipeline(context.settings.prefix, first), first, definition, given)


def cut(rendered: list[dict[str, Any]], first: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The steps from `first`, with parameters for results of earlier steps; and the properties of those parameters."""
    names = [step["Name"] for step in rendered]
    place = names.index(first)
    given: dict[str, str] = {}
    kept = [_replaced(step, set(names[:place]), given) for step in rendered[place:]]
    for step in kept:
        _continue_checkpoints(step)
    return kept, given


def _replaced(value: Any, gone: set[str], given: dict[str, str]) -> Any:
    """`value` with a parameter in place of every property of a step that this pipeline lacks."""
    if isinstance(value, list):
        return [_replaced(item, gone, given) for item in value]
    if not isinstance(value, dict):
        return value
    path = value.get("Get")
    if isinstance(path, str) and path.startswith("Steps.") and path.split(".")[1] in gone:
        name = _name_of(path)
        given[name] = path
        return {"Get": f"Parameters.{name}"}
    return {key: _replaced(item, gone, given) for key, item in value.items()}


def _name_of(path: str) -> str:
    """The parameter that brings a property into a continuing pipeline. Raises LookupError where it has none."""
    if path in _NAMES:
        return _NAMES[path]
    if searched := _SEARCHED.fullmatch(path):
        return "Best" + "".join(word.capitalize() for word in searched[1].split("-"))
    raise LookupError(f"{path} has no parameter that brings it into a continuing pipeline: name one in _NAMES")


def _continue_checkpoints(step: dict[str, Any]) -> None:
    """Let a job read the checkpoints of the continued execution, and write its own beside them."""
    arguments = step["Arguments"]
    config = arguments.get("TrainingJobDefinition", arguments).get("CheckpointConfig")
    if config is None or "Std:Join" not in config["S3Uri"]:
        return
    parts = config["S3Uri"]["Std:Join"]["Values"]
    here, there = {"Get": "Execution.PipelineExecutionId"}, {"Get": f"Parameters.{CONTINUED_EXECUTION}"}
    config["S3Uri"]["Std:Join"]["Values"] = [there if part == here else part for part in parts]


def _parameters_in(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _parameters_in(item)
    elif isinstance(value, dict):
        path = value.get("Get")
        if isinstance(path, str) and path.startswith("Parameters."):
            yield path.removeprefix("Parameters.")
        for item in value.values():
            yield from _parameters_in(item)
