"""Checks of CreateHyperParameterTuningJob beyond the request's shape.

They raise `AwsError`: ValidationException for what AWS refuses too, NotImplemented for what only AWS runs.
"""

from __future__ import annotations

import math

from local_aws.core.context import Context
from local_aws.core.disks import refuse_larger_volume, refuse_volume_key
from local_aws.core.errors import AwsError, not_local, validation
from local_aws.core.protocol import Document
from local_aws.jobs.requests import require_metrics_with_a_value, require_what_training_names
from local_aws.tuning.records import ranges_of, resources_of, space_of
from local_aws.tuning.space import CategoricalParameter
from local_aws.tuning.stopping import rule_of
from local_aws.tuning.warm_start import check_warm_start

_MOST_PARALLEL = 100
_MOST_SEARCHED = 30


def check_tuning(context: Context, request: Document) -> None:
    """The training job, the objective, the limits, the ranges and the parents of a warm start."""
    config = request["HyperParameterTuningJobConfig"]
    definition = request.get("TrainingJobDefinition")
    _refuse_convergence(request)
    if definition is None:
        raise validation("TrainingJobDefinition is required")
    try:
        rule_of(config, definition.get("StaticHyperParameters", {}))
    except ValueError as error:
        raise validation(str(error)) from None
    objective = config.get("HyperParameterTuningJobObjective") or definition.get("TuningObjective")
    if objective is None:
        raise validation("HyperParameterTuningJobObjective is required")
    metrics = [item["Name"] for item in definition["AlgorithmSpecification"].get("MetricDefinitions", [])]
    if objective["MetricName"] not in metrics:
        raise validation(
            f"The objective metric {objective['MetricName']} is not among the MetricDefinitions of the training job: "
            f"{', '.join(metrics) or 'none'}"
        )
    require_metrics_with_a_value(definition["AlgorithmSpecification"])
    if ("ResourceConfig" in definition) == ("HyperParameterTuningResourceConfig" in definition):
        raise validation("TrainingJobDefinition must have either ResourceConfig or HyperParameterTuningResourceConfig")
    try:
        resources = resources_of(definition)
    except KeyError as error:
        raise validation(
            f"HyperParameterTuningResourceConfig must have InstanceConfigs, or InstanceType, InstanceCount and "
            f"VolumeSizeInGB: {error.args[0]} is missing"
        ) from None
    # AWS may run trials on any of several InstanceConfigs, so each of them must do.
    several = definition.get("HyperParameterTuningResourceConfig", {}).get("InstanceConfigs", [])
    for machines in [resources, *({**resources, **instance} for instance in several)]:
        refuse_volume_key(machines.get("VolumeKmsKeyId"), [machines.get("InstanceType")])
        refuse_larger_volume(machines.get("VolumeSizeInGB"), [machines.get("InstanceType")])
    _check_limits(config)
    _check_ranges(config["Strategy"], ranges_of(request), definition.get("StaticHyperParameters", {}))
    check_warm_start(context, request)
    require_what_training_names(context, definition)


def _refuse_convergence(request: Document) -> None:
    criteria = request["HyperParameterTuningJobConfig"].get("TuningJobCompletionCriteria", {})
    if criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled":
        raise not_local("ConvergenceDetected does not run locally", "leave it out of the request")


def _check_limits(config: Document) -> None:
    limits = config["ResourceLimits"]
    parallel = limits["MaxParallelTrainingJobs"]
    most = limits.get("MaxNumberOfTrainingJobs")
    if most is not None and parallel > most:
        raise validation(f"MaxParallelTrainingJobs {parallel} must not be greater than MaxNumberOfTrainingJobs {most}")
    if parallel > _MOST_PARALLEL:
        raise AwsError("ResourceLimitExceeded", f"At most {_MOST_PARALLEL} training jobs can run in parallel")


def _check_ranges(strategy: str, ranges: Document, static: Document) -> None:
    try:
        space = space_of(ranges)
    except ValueError as error:
        raise validation(f"Parameter ranges must be numbers: {error}") from None
    names = [parameter.name for parameter in space]
    if not names:
        raise validation("At least one parameter range is required")
    doubled = sorted({name for name in names if names.count(name) > 1} | (set(names) & set(static)))
    if doubled:
        raise validation(f"Hyperparameters must be given once, as a range or as a static value: {', '.join(doubled)}")
    if strategy == "Grid" and not all(isinstance(parameter, CategoricalParameter) for parameter in space):
        raise validation("Grid search takes categorical parameter ranges only")
    if len(names) > _MOST_SEARCHED:
        raise validation(f"{len(names)} parameter ranges are given; all kinds together can be at most {_MOST_SEARCHED}")
    for kind in ("ContinuousParameterRanges", "IntegerParameterRanges"):
        for item in ranges.get(kind, []):
            _check_range(item, whole=kind == "IntegerParameterRanges")


def _check_range(item: Document, *, whole: bool) -> None:
    low, high = float(item["MinValue"]), float(item["MaxValue"])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise validation(f"{item['Name']}: MinValue {low:g} and MaxValue {high:g} must be finite")
    if whole and not (low.is_integer() and high.is_integer()):
        raise validation(f"{item['Name']}: MinValue {low:g} and MaxValue {high:g} of an integer range must be whole")
    if low > high:
        raise validation(f"{item['Name']}: MinValue {low:g} must not be greater than MaxValue {high:g}")
    scaling = item.get("ScalingType")
    if scaling == "Logarithmic" and low <= 0:
        raise validation(f"{item['Name']}: logarithmic scaling needs MinValue > 0")
    if scaling == "ReverseLogarithmic" and whole:
        raise validation(f"{item['Name']}: an integer range has Auto, Linear or Logarithmic scaling, not {scaling}")
    if scaling == "ReverseLogarithmic" and not 0 <= low <= high < 1:
        raise validation(f"{item['Name']}: reverse logarithmic scaling needs 0 <= MinValue <= MaxValue < 1")
