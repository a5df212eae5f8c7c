"""The jobs of an execution, read from a pipeline definition: machines, number of runs, time limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from binventory.assembly.definitions import Definition, all_steps, defaults_of, job_arguments, with_parameters
from binventory.cost.networks import INPUT_SIZE

# What SageMaker sets where a request sets no limit.
_DEFAULT_LIMIT_SECONDS = 86_400

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


def jobs_of(definition: Definition, given: Parameters | None = None) -> tuple[Job, ...]:
    """The jobs that an execution runs when it is started with the parameters `given`."""
    values = {**defaults_of(definition), **(given or {})}
    return tuple(job for step in all_steps(definition) if (job := _job(step, values)) is not None)


def input_size_of(definition: Definition) -> int:
    """Side in pixels of the photos that the network sees, from the hyperparameters of the jobs."""
    asked = (job_arguments(step).get("HyperParameters", {}).get("input-size") for step in all_steps(definition))
    return next((int(size) for size in asked if isinstance(size, str)), INPUT_SIZE)


def _job(step: dict[str, Any], values: Parameters) -> Job | None:
    arguments = step.get("Arguments", {})
    readers = {"Processing": _processing, "Training": _training, "Tuning": _tuning}
    if step["Type"] not in readers:
        return None
    return readers[step["Type"]](step["Name"], with_parameters(arguments, values))


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
