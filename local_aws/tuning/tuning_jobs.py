"""Tuning jobs: CreateHyperParameterTuningJob and the other operations, and the list of their trials."""

from __future__ import annotations

from typing import Any

from local_aws.core.context import Context
from local_aws.core.listing import BY_NAME, Sorting, cut
from local_aws.core.protocol import Document
from local_aws.core.wire import describe
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.records import TRAINING
from local_aws.jobs.running import Jobs, from_before
from local_aws.tuning.records import (
    FAMILY,
    TRIALS,
    TuningRecord,
    best_trial,
    counters,
    not_improving,
    objective_of,
    overall_best_trial,
    resources_of,
    trial_summaries,
)
from local_aws.tuning.requests import check_tuning
from local_aws.tuning.tuner import TuningRun

TUNING_JOBS = JobKind(
    FAMILY,
    "hyperparameter tuning job",
    check_tuning,
    lambda context, request: {TRIALS: []},
    TuningRun,
    taken="Hyperparameter tuning job names must be unique within an AWS account and region, {} exists",
    missing="Amazon SageMaker can't find a tuning job with the name {}.",
    record=TuningRecord,
    usual=BY_NAME,
)
_SORT_FIELDS = {"Name": "TrainingJobName", "Status": "TrainingJobStatus", "CreationTime": "CreationTime"}


def resume(context: Context) -> None:
    """Start again what an earlier local AWS left, after its trials.

    A tuning job that was being stopped stops those that run again.
    """
    jobs = context.shared(Jobs)
    for tuning in from_before(context, FAMILY):
        name = tuning["HyperParameterTuningJobName"]
        with jobs.starting:
            stored = TUNING_JOBS.find(context, {"HyperParameterTuningJobName": name})
            stopping = stored["HyperParameterTuningJobStatus"] == "Stopping"
            if stopping and any(jobs.find(TRAINING, trial["Name"]) for trial in stored.get(TRIALS, [])):
                TUNING_JOBS.start(context, name)
    TUNING_JOBS.resume(context)


def describe_tuning_job(context: Context, request: Document) -> Document:
    """Everything about one tuning job, its best trial included."""
    return describe("DescribeHyperParameterTuningJob", _shown(context, TUNING_JOBS.find(context, request)))


def list_tuning_jobs(context: Context, request: Document) -> Document:
    """Tuning jobs, by their names unless the request says otherwise."""
    page = TUNING_JOBS.page(context, request)
    documents = [
        _shown(context, tuning)
        | {
            "Strategy": tuning["HyperParameterTuningJobConfig"]["Strategy"],
            "ResourceLimits": tuning["HyperParameterTuningJobConfig"]["ResourceLimits"],
        }
        for tuning in page.documents
    ]
    return TUNING_JOBS.reply(page._replace(documents=documents))


def list_trials(context: Context, request: Document) -> Document:
    """The trials of one tuning job."""
    tuning = TUNING_JOBS.find(context, request)
    summaries = trial_summaries(context, tuning)
    if "StatusEquals" in request:
        summaries = [s for s in summaries if s["TrainingJobStatus"] == request["StatusEquals"]]
    sort_by = request.get("SortBy", "Name")
    if sort_by == "FinalObjectiveMetricValue":
        # As on AWS, trials without a value are not listed in this order.
        summaries = [s for s in summaries if "FinalHyperParameterTuningJobObjectiveMetric" in s]

    def key(summary: Document) -> list[Any]:
        if sort_by == "FinalObjectiveMetricValue":
            return [summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]]
        return [summary[_SORT_FIELDS[sort_by]]]

    page = cut(summaries, request, Sorting(key, "TrainingJobName", request.get("SortOrder", "Ascending")))
    return page.reply("TrainingJobSummaries", page.documents)


def _shown(context: Context, tuning: Document) -> Document:
    """With what AWS adds to the request: the SDK's `attach` reads objective, key and resources from there."""
    summaries = trial_summaries(context, tuning)
    definition = tuning["TrainingJobDefinition"]
    added = {"_tuning_objective_metric": objective_of(tuning).metric}
    tuning = tuning | {
        "TrainingJobDefinition": definition
        | {
            "StaticHyperParameters": definition.get("StaticHyperParameters", {}) | added,
            "OutputDataConfig": {"KmsKeyId": ""} | definition["OutputDataConfig"],
            "ResourceConfig": resources_of(definition),
        }
    }
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
