"""Warm starts: the checks of the parents, and the trials that a tuning job takes from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from local_aws.core.context import Context
from local_aws.core.errors import not_found, validation
from local_aws.core.protocol import Document
from local_aws.jobs.records import TRAINING
from local_aws.tuning.records import ENDED, FAMILY, TRIALS, objective_of, ranges_of
from local_aws.tuning.space import CategoricalParameter, NumberParameter, SearchParameter, TriedPoint

IDENTICAL = "IdenticalDataAndAlgorithm"
_MOST_CHANGES = 10
_KINDS = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")


def check_warm_start(context: Context, request: Document) -> None:
    """Refuse, as AWS does, parents that still run or differ in objective, hyperparameters or data.

    Raises `AwsError`; it names the parent and the difference.
    """
    warm = request.get("WarmStartConfig")
    if warm is None:
        return
    names = [parent["HyperParameterTuningJobName"] for parent in warm["ParentHyperParameterTuningJobs"]]
    if len(set(names)) != len(names):
        raise validation("The parents of a warm start must be different tuning jobs")
    for name in names:
        parent = context.table(FAMILY).get(name)
        if parent is None:
            raise not_found(f"Amazon SageMaker can't find the parent tuning job {name}.")
        _check_parent(request, parent, name)
        if warm["WarmStartType"] == IDENTICAL:
            _check_identical(request, parent, name)


def earlier_trials(context: Context, tuning: Document, space: Sequence[SearchParameter]) -> list[TriedPoint]:
    """The trials of the parents of a warm start that lie in the new search space."""
    parents = tuning.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
    found: list[TriedPoint] = []
    for parent in (context.table(FAMILY).get(item["HyperParameterTuningJobName"]) for item in parents):
        if parent is not None:
            found += _observations(context, parent, space)
    return found


def _observations(context: Context, parent: Document, space: Sequence[SearchParameter]) -> Iterator[TriedPoint]:
    objective = objective_of(parent)
    static = parent["TrainingJobDefinition"].get("StaticHyperParameters", {})
    for trial in parent[TRIALS]:
        job = context.table(TRAINING).get(trial["Name"])
        loss = objective.loss(job) if job else None
        values = static | trial["Values"]
        if loss is not None and all(_holds(parameter, values.get(parameter.name)) for parameter in space):
            yield TriedPoint({parameter.name: values[parameter.name] for parameter in space}, loss)


def _holds(parameter: SearchParameter, value: str | None) -> bool:
    """Whether a parent's value lies in the new range."""
    if value is None:
        return False
    if isinstance(parameter, CategoricalParameter):
        return value in parameter.choices
    try:
        return isinstance(parameter, NumberParameter) and parameter.low <= float(value) <= parameter.high
    except ValueError:
        return False


def _check_parent(request: Document, parent: Document, name: str) -> None:
    status = parent["HyperParameterTuningJobStatus"]
    if status not in ENDED:
        raise validation(f"Parent tuning job {name} is {status}; it must be Completed, Stopped or Failed")
    ours, theirs = objective_of(request), objective_of(parent)
    if ours != theirs:
        raise validation(f"The objective of parent tuning job {name} is {theirs.metric}; it must be the same: {ours}")
    kinds, before = _kinds(request), _kinds(parent)
    changed = sorted(key for key in kinds.keys() & before.keys() if kinds[key] != before[key])
    if changed:
        raise validation(f"The type of {', '.join(changed)} must be that in parent tuning job {name}")
    static, previously = _static(request), _static(parent)
    if len(static) + len(kinds) != len(previously) + len(before):
        raise validation(
            f"The number of static and tunable hyperparameters, {len(static) + len(kinds)}, must be that of parent "
            f"tuning job {name}, {len(previously) + len(before)}"
        )
    changes = sum(key not in kinds for key in before)
    changes += sum(static[key] != previously[key] for key in static.keys() & previously.keys())
    if changes > _MOST_CHANGES:
        raise validation(
            f"{changes} hyperparameters became static or changed their static value since parent tuning job {name}; "
            f"at most {_MOST_CHANGES} may"
        )


def _check_identical(request: Document, parent: Document, name: str) -> None:
    ours, theirs = request["TrainingJobDefinition"], parent["TrainingJobDefinition"]
    compared = {
        "the input data": (ours.get("InputDataConfig"), theirs.get("InputDataConfig")),
        "the training image": (
            ours["AlgorithmSpecification"].get("TrainingImage"),
            theirs["AlgorithmSpecification"].get("TrainingImage"),
        ),
    }
    for what, (now, before) in compared.items():
        if now != before:
            raise validation(
                f"WarmStartType {IDENTICAL} needs the same data and algorithm, but {what} differs from parent tuning "
                f"job {name}; use TransferLearning"
            )


def _kinds(tuning: Document) -> dict[str, str]:
    ranges = ranges_of(tuning)
    return {item["Name"]: kind for kind in _KINDS for item in ranges.get(kind, [])}


def _static(tuning: Document) -> dict[str, str]:
    static: dict[str, str] = tuning["TrainingJobDefinition"].get("StaticHyperParameters", {})
    return static
