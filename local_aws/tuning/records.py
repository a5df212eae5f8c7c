"""Stored tuning jobs: objective, search space, trials, best trial and counters."""

from __future__ import annotations

from dataclasses import dataclass

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.core.record import Record
from local_aws.jobs.records import TRAINING
from local_aws.tuning.space import CategoricalParameter, NumberParameter, SearchParameter

FAMILY = "HyperParameterTuningJob"
TRIALS = "_Trials"
ENDED = frozenset({"Completed", "Failed", "Stopped"})
_COUNTERS = {
    "Completed": "Completed",
    "Failed": "NonRetryableError",
    "Stopped": "Stopped",
    "InProgress": "InProgress",
    "Stopping": "InProgress",
}
_IMPROVEMENT = 0.01
"""AWS counts an improvement from a hundredth of the best value so far."""


class TuningRecord(Record):
    """One stored tuning job."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context, FAMILY, name)

    def announce(self, document: Document, previous: str | None) -> None:
        """Send "SageMaker HyperParameter Tuning Job State Change"."""
        detail = {key: document[key] for key in ("HyperParameterTuningJobName", "HyperParameterTuningJobStatus")}
        arn = document["HyperParameterTuningJobArn"]
        self._context.emit_event("SageMaker HyperParameter Tuning Job State Change", detail, [arn])


@dataclass(frozen=True)
class Objective:
    """The objective of a tuning job."""

    metric: str
    minimise: bool

    def loss(self, job: Document) -> float | None:
        """The final objective of a training job, of which smaller is better; None while it runs or when it has none.

        A stopped trial has one too: the last value that it printed.
        """
        if job["TrainingJobStatus"] not in {"Completed", "Stopped"}:
            return None
        value = self.value(job)
        return None if value is None else (value if self.minimise else -value)

    def value(self, job: Document) -> float | None:
        """The last value of the objective's metric that a training job printed."""
        found = [m["Value"] for m in job.get("FinalMetricDataList", []) if m["MetricName"] == self.metric]
        return float(found[-1]) if found else None


def objective_of(tuning: Document) -> Objective:
    """The objective of a stored tuning job."""
    stated = tuning["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective") or tuning[
        "TrainingJobDefinition"
    ].get("TuningObjective")
    return Objective(stated["MetricName"], stated["Type"] == "Minimize")


def ranges_of(tuning: Document) -> Document:
    """The ParameterRanges of a tuning job, from its configuration or from its training job definition."""
    stated: Document = (
        tuning["HyperParameterTuningJobConfig"].get("ParameterRanges")
        or tuning["TrainingJobDefinition"].get("HyperParameterRanges")
        or {}
    )
    return stated


def resources_of(definition: Document) -> Document:
    """The ResourceConfig of a tuning job's trials; raises `KeyError` with the member that is missing.

    Of several InstanceConfigs it is the first, which AWS, too, takes while it has capacity.
    """
    if "ResourceConfig" in definition:
        stated: Document = definition["ResourceConfig"]
        return stated
    config = definition["HyperParameterTuningResourceConfig"]
    instance = config["InstanceConfigs"][0] if config.get("InstanceConfigs") else config
    found = {
        "InstanceType": instance["InstanceType"],
        "InstanceCount": instance["InstanceCount"],
        "VolumeSizeInGB": instance.get("VolumeSizeInGB") or config["VolumeSizeInGB"],
    }
    return found | ({"VolumeKmsKeyId": config["VolumeKmsKeyId"]} if "VolumeKmsKeyId" in config else {})


def space_of(ranges: Document) -> list[SearchParameter]:
    """The search space of ParameterRanges, whose numbers are text on the wire."""
    space: list[SearchParameter] = [
        NumberParameter(item["Name"], float(item["MinValue"]), float(item["MaxValue"]), item.get("ScalingType", "Auto"))
        for item in ranges.get("ContinuousParameterRanges", [])
    ]
    space += [
        NumberParameter(
            item["Name"], float(item["MinValue"]), float(item["MaxValue"]), item.get("ScalingType", "Auto"), True
        )
        for item in ranges.get("IntegerParameterRanges", [])
    ]
    space += [
        CategoricalParameter(item["Name"], tuple(item["Values"]))
        for item in ranges.get("CategoricalParameterRanges", [])
    ]
    return space


def trial_summary(context: Context, tuning: Document, trial: Document) -> Document | None:
    """A trial as ListTrainingJobsForHyperParameterTuningJob shows it; None before its training job exists."""
    job = context.table(TRAINING).get(trial["Name"])
    if job is None:
        return None
    objective = objective_of(tuning)
    value = objective.value(job)
    summary = {
        "TrainingJobName": job["TrainingJobName"],
        "TrainingJobArn": job["TrainingJobArn"],
        "TuningJobName": tuning["HyperParameterTuningJobName"],
        "CreationTime": job["CreationTime"],
        "TrainingJobStatus": job["TrainingJobStatus"],
        "TunedHyperParameters": trial["Values"],
        "ObjectiveStatus": "Pending",
    }
    if name := tuning["TrainingJobDefinition"].get("DefinitionName"):
        summary["TrainingJobDefinitionName"] = name
    for member in ("TrainingStartTime", "TrainingEndTime", "FailureReason"):
        if member in job:
            summary[member] = job[member]
    if job["TrainingJobStatus"] in ENDED:
        summary["ObjectiveStatus"] = "Failed" if objective.loss(job) is None else "Succeeded"
    if value is not None and summary["ObjectiveStatus"] != "Pending":
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": objective.metric, "Value": value}
    return summary


def trial_summaries(context: Context, tuning: Document) -> list[Document]:
    """Every trial that has a training job, in the order of suggestion."""
    summaries = [trial_summary(context, tuning, trial) for trial in tuning[TRIALS]]
    return [summary for summary in summaries if summary is not None]


def best_trial(context: Context, tuning: Document) -> Document | None:
    """The trial with the best objective; None while there is none."""
    return _best(trial_summaries(context, tuning), objective_of(tuning))


def overall_best_trial(context: Context, tuning: Document) -> Document | None:
    """The best trial of a job with a warm start and of its parents, if they have the same data."""
    warm = tuning.get("WarmStartConfig", {})
    if warm.get("WarmStartType") != "IdenticalDataAndAlgorithm":
        return None
    names = [parent["HyperParameterTuningJobName"] for parent in warm["ParentHyperParameterTuningJobs"]]
    parents = [context.table(FAMILY).get(name) for name in names]
    summaries = [s for job in [tuning, *parents] if job is not None for s in trial_summaries(context, job)]
    return _best(summaries, objective_of(tuning))


def not_improving(context: Context, tuning: Document) -> int:
    """The number of trials that were not better, by a hundredth, than the best that had ended before."""
    objective = objective_of(tuning)
    ended = sorted(_succeeded(trial_summaries(context, tuning)), key=lambda s: s["TrainingEndTime"])
    losses = [_value(summary) * (1 if objective.minimise else -1) for summary in ended]
    best, count = float("inf"), 0
    for loss in losses:
        margin = _IMPROVEMENT * abs(best) if best != float("inf") else 0.0
        count += loss > best - margin
        best = min(best, loss)
    return count


def _best(summaries: list[Document], objective: Objective) -> Document | None:
    sign = 1 if objective.minimise else -1
    return min(_succeeded(summaries), key=lambda s: sign * _value(s), default=None)


def _succeeded(summaries: list[Document]) -> list[Document]:
    return [summary for summary in summaries if summary["ObjectiveStatus"] == "Succeeded"]


def _value(summary: Document) -> float:
    return float(summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


def counters(summaries: list[Document]) -> tuple[Document, Document]:
    """TrainingJobStatusCounters and ObjectiveStatusCounters of some trials."""
    jobs = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for summary in summaries:
        jobs[_COUNTERS[summary["TrainingJobStatus"]]] += 1
        objectives[summary["ObjectiveStatus"]] += 1
    return jobs, objectives
