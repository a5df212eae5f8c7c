"""Reads the jobs of an execution from a pipeline definition: what runs them, how often, and how long at most."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from binventory.core.errors import Exit, Problem

# What SageMaker sets where a request sets no limit.
_DEFAULT_LIMIT_SECONDS = 86_400

_NUMBERS = {"Integer": re.compile(r"-?\d+"), "Float": re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")}

Definition = dict[str, Any]
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A job of the pipeline: what runs it, how often, and for how long at most."""

    step: str
    instance_type: str
    instance_count: int
    runs: int  # trials of a tuning job; 1 otherwise
    parallel: int
    spot: bool
    max_seconds: int
    volume_gb: int

    def on_spot(self) -> Job:
        """The same job on spot capacity."""
        return replace(self, spot=True)


def defaults_of(definition: Definition) -> dict[str, Any]:
    """The defaults of the pipeline's parameters."""
    return {item["Name"]: item.get("DefaultValue") for item in definition.get("Parameters", [])}


def check_parameters(definition: Definition, given: Parameters) -> None:
    """Refuses what the service would refuse, before anybody is asked about a price.

    Raises:
        Problem: a parameter is unknown, is no number where it must be, or is none of the allowed values.
    """
    declared = {item["Name"]: item for item in definition.get("Parameters", [])}
    for name, value in given.items():
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1, cutoff=0.6)
            raise _wrong(name, f"the pipeline has {', '.join(sorted(declared)) or 'no parameters'}", *close)
        kind = declared[name]["Type"]
        if kind in _NUMBERS and not _NUMBERS[kind].fullmatch(str(value)):
            raise _wrong(name, f"{value} is no {kind}", f"{name}={declared[name].get('DefaultValue')}")
        allowed = declared[name].get("EnumValues", [])
        if allowed and value not in allowed:
            raise _wrong(name, f"{value} is none of {', '.join(allowed)}", f"{name}={allowed[0]}")


def _wrong(name: str, why: str, *better: str) -> Problem:
    cure = f"did you mean --set {better[0]}?" if better else "leave it out, or deploy a definition that has it"
    return Problem(f"The pipeline parameter {name} is not possible", why, cure, code=Exit.USAGE)


def jobs_of(definition: Definition, given: Parameters | None = None) -> tuple[Job, ...]:
    """The jobs that an execution runs when it is started with the parameters `given`."""
    values = {**defaults_of(definition), **(given or {})}
    return tuple(job for step in _steps(definition["Steps"]) if (job := _job(step, values)) is not None)


def instance_parameters(definition: Definition) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By step: the parameter that sets its instance type, and the types that it allows."""
    allowed = {item["Name"]: tuple(item.get("EnumValues", ())) for item in definition.get("Parameters", [])}
    found = {}
    for step in _steps(definition["Steps"]):
        arguments = step.get("Arguments", {})
        arguments = arguments.get("TrainingJobDefinition", arguments)
        resources = arguments.get("ResourceConfig") or arguments.get("ProcessingResources", {}).get("ClusterConfig", {})
        instance_type = resources.get("InstanceType")
        if isinstance(instance_type, dict):
            name = str(instance_type.get("Get", "")).removeprefix("Parameters.")
            found[step["Name"]] = (name, allowed.get(name, ()))
    return found


def _steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All steps, those inside conditions included."""
    found = []
    for step in steps:
        found.append(step)
        arguments = step.get("Arguments", {})
        if step["Type"] == "Condition":
            found.extend(_steps(arguments.get("IfSteps", [])))
            found.extend(_steps(arguments.get("ElseSteps", [])))
    return found


def _job(step: dict[str, Any], values: Parameters) -> Job | None:
    arguments = step.get("Arguments", {})
    readers = {"Processing": _processing, "Training": _training, "Tuning": _tuning}
    if step["Type"] not in readers:
        return None
    return readers[step["Type"]](step["Name"], _resolved(arguments, values))


def _resolved(value: Any, values: Parameters) -> Any:
    """The arguments with parameters replaced by their values."""
    if isinstance(value, dict):
        get = value.get("Get")
        if isinstance(get, str) and get.startswith("Parameters."):
            return values.get(get.removeprefix("Parameters."))
        return {key: _resolved(inner, values) for key, inner in value.items()}
    return [_resolved(inner, values) for inner in value] if isinstance(value, list) else value


def _processing(name: str, arguments: dict[str, Any]) -> Job:
    cluster = arguments["ProcessingResources"]["ClusterConfig"]
    return Job(
        step=name,
        instance_type=cluster["InstanceType"],
        instance_count=int(cluster["InstanceCount"]),
        runs=1,
        parallel=1,
        spot=False,
        max_seconds=_limit(arguments),
        volume_gb=int(cluster["VolumeSizeInGB"]),
    )


def _training(name: str, arguments: dict[str, Any], runs: int = 1, parallel: int = 1) -> Job:
    resources = arguments["ResourceConfig"]
    return Job(
        step=name,
        instance_type=resources["InstanceType"],
        instance_count=int(resources["InstanceCount"]),
        runs=runs,
        parallel=parallel,
        spot=bool(arguments.get("EnableManagedSpotTraining", False)),
        max_seconds=_limit(arguments),
        volume_gb=int(resources["VolumeSizeInGB"]),
    )


def _limit(arguments: dict[str, Any]) -> int:
    return int(arguments.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DEFAULT_LIMIT_SECONDS))


def _tuning(name: str, arguments: dict[str, Any]) -> Job:
    limits = arguments["HyperParameterTuningJobConfig"]["ResourceLimits"]
    runs, parallel = int(limits["MaxNumberOfTrainingJobs"]), int(limits["MaxParallelTrainingJobs"])
    return _training(name, arguments["TrainingJobDefinition"], runs, parallel)
