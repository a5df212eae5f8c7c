"""Hyperparameter tuning jobs: create, describe, list, stop, and their trials."""

from __future__ import annotations

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.listing import cut
from local_aws.core.wire import Document, describe, operation
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.running import resumes
from local_aws.tuning.search import CategoricalParameter
from local_aws.tuning.stopping import rule_of
from local_aws.tuning.tuner import TuningRun
from local_aws.tuning.tuning_record import (
    FAMILY,
    TRIALS,
    best_trial,
    counters,
    not_improving,
    overall_best_trial,
    ranges_of,
    space_of,
    trial_summaries,
)
from local_aws.tuning.warm_start import check_warm_start

_KIND = JobKind(
    FAMILY,
    "hyperparameter tuning job",
    TuningRun,
    taken="Hyperparameter tuning job names must be unique within an AWS account and region, {} exists",
    missing="Amazon SageMaker can't find a tuning job with the name {}.",
)
_MOST_PARALLEL = 100
_SORT_FIELDS = {"Name": "TrainingJobName", "Status": "TrainingJobStatus", "CreationTime": "CreationTime"}


@operation("CreateHyperParameterTuningJob")
def create_tuning_job(context: Context, request: Document) -> Document:
    """Accept a tuning job and start it."""
    _check(request)
    check_warm_start(context, request)
    return _KIND.create(context, request, {TRIALS: []})


@operation("DescribeHyperParameterTuningJob")
def describe_tuning_job(context: Context, request: Document) -> Document:
    """Everything about one tuning job, its best trial included."""
    return describe("DescribeHyperParameterTuningJob", _shown(context, _KIND.find(context, request)))


@operation("ListHyperParameterTuningJobs")
def list_tuning_jobs(context: Context, request: Document) -> Document:
    """Tuning jobs, newest first unless asked otherwise."""
    page = _KIND.page(context, request)
    documents = [
        _shown(context, tuning)
        | {
            "Strategy": tuning["HyperParameterTuningJobConfig"]["Strategy"],
            "ResourceLimits": tuning["HyperParameterTuningJobConfig"]["ResourceLimits"],
        }
        for tuning in page.documents
    ]
    return _KIND.reply(page._replace(documents=documents))


@operation("ListTrainingJobsForHyperParameterTuningJob")
def list_trials(context: Context, request: Document) -> Document:
    """The trials of one tuning job."""
    tuning = _KIND.find(context, request)
    summaries = trial_summaries(context, tuning)
    if "StatusEquals" in request:
        summaries = [s for s in summaries if s["TrainingJobStatus"] == request["StatusEquals"]]
    descending = request.get("SortOrder", "Ascending") == "Descending"
    sort_by = request.get("SortBy", "Name")
    if sort_by == "FinalObjectiveMetricValue":
        # Trials without a value go to the end either way.
        with_value = [s for s in summaries if "FinalHyperParameterTuningJobObjectiveMetric" in s]
        without = [s for s in summaries if "FinalHyperParameterTuningJobObjectiveMetric" not in s]
        with_value.sort(key=lambda s: s["FinalHyperParameterTuningJobObjectiveMetric"]["Value"], reverse=descending)
        summaries = with_value + without
    else:
        summaries.sort(key=lambda s: s[_SORT_FIELDS[sort_by]], reverse=descending)
    page = cut(summaries, request)
    return page.reply("TrainingJobSummaries", page.documents)


@operation("StopHyperParameterTuningJob")
def stop_tuning_job(context: Context, request: Document) -> Document:
    """Start no more trials and stop the running ones."""
    return _KIND.stop(context, request)


@resumes(order=1)
def resume_tuning_jobs(context: Context) -> None:
    """Take up the tuning jobs that were running when the local AWS stopped, after their training jobs."""
    _KIND.resume(context)


def _shown(context: Context, tuning: Document) -> Document:
    summaries = trial_summaries(context, tuning)
    jobs, objectives = counters(summaries)
    end = tuning.get("HyperParameterTuningEndTime", context.now())
    shown = tuning | {
        "TrainingJobStatusCounters": jobs,
        "ObjectiveStatusCounters": objectives,
        "TuningJobCompletionDetails": {
            "NumberOfTrainingJobsObjectiveNotImproving": not_improving(context, tuning),
        },
        "ConsumedResources": {"RuntimeInSeconds": max(0, round(end - tuning["CreationTime"]))},
    }
    best, overall = best_trial(context, tuning), overall_best_trial(context, tuning)
    return (
        shown | ({"BestTrainingJob": best} if best else {}) | ({"OverallBestTrainingJob": overall} if overall else {})
    )


def _check(request: Document) -> None:
    """What AWS refuses although its shape is right, and what does not run locally."""
    config = request["HyperParameterTuningJobConfig"]
    definition = request.get("TrainingJobDefinition")
    _refuse_what_does_not_run(request)
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
    if "ResourceConfig" not in definition:
        raise AwsError("NotImplemented", "Locally TrainingJobDefinition.ResourceConfig is required", 501)
    _check_limits(config)
    _check_ranges(config["Strategy"], ranges_of(request), definition.get("StaticHyperParameters", {}))


def _refuse_what_does_not_run(request: Document) -> None:
    """Members that would change the outcome must not be passed over in silence."""
    criteria = request["HyperParameterTuningJobConfig"].get("TuningJobCompletionCriteria", {})
    asked = {
        "TrainingJobDefinitions": "TrainingJobDefinitions" in request,
        "Autotune": "Autotune" in request,
        "ConvergenceDetected": criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled",
    }
    names = [name for name, given in asked.items() if given]
    if names:
        raise AwsError("NotImplemented", f"{', '.join(names)} does not run locally", 501)


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
    for kind in ("ContinuousParameterRanges", "IntegerParameterRanges"):
        for item in ranges.get(kind, []):
            low, high = float(item["MinValue"]), float(item["MaxValue"])
            if low > high:
                raise validation(f"{item['Name']}: MinValue {low:g} must not be greater than MaxValue {high:g}")
            scaling = item.get("ScalingType")
            if scaling == "Logarithmic" and low <= 0:
                raise validation(f"{item['Name']}: logarithmic scaling needs MinValue > 0")
            if scaling == "ReverseLogarithmic" and not 0 <= low <= high < 1:
                raise validation(f"{item['Name']}: reverse logarithmic scaling needs 0 <= MinValue <= MaxValue < 1")
