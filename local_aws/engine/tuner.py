"""One hyperparameter tuning job: suggests points, runs each as a training job, keeps the score."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from typing import Any

from local_aws.context import Context
from local_aws.engine.jobs import jobs_of
from local_aws.engine.search import CategoricalParameter, NumberParameter, Parameter, Trial, suggest
from local_aws.engine.training_record import FAMILY as TRAINING
from local_aws.engine.training_start import begin_training_job
from local_aws.errors import AwsError
from local_aws.wire import Document

FAMILY = "HyperParameterTuningJob"
TRIALS = "_Trials"
_MOST_SEED = 2**31
_COUNTERS = {
    "Completed": "Completed",
    "Failed": "NonRetryableError",
    "Stopped": "Stopped",
    "InProgress": "InProgress",
    "Stopping": "InProgress",
}


@dataclass(frozen=True)
class Objective:
    """What a tuning job looks for."""

    metric: str
    minimise: bool

    def loss(self, job: Document) -> float | None:
        """The final objective of a training job that completed, smaller being better; None when it has none."""
        if job["TrainingJobStatus"] != "Completed":
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


def space_of(ranges: Document) -> list[Parameter]:
    """The search space that ParameterRanges describe; the numbers in it are text on the wire."""
    space: list[Parameter] = [
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


class TuningRun:
    """Runs the stored tuning job `name`; trials that it started before a restart are taken up again."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._jobs = jobs_of(context)
        self._table = context.table(FAMILY)
        self._name = name
        tuning = self._read()
        config = tuning["HyperParameterTuningJobConfig"]
        self._arn: str = tuning["HyperParameterTuningJobArn"]
        self._strategy: str = config["Strategy"]
        self._definition: Document = tuning["TrainingJobDefinition"]
        self._ranges: Document = config.get("ParameterRanges") or self._definition.get("HyperParameterRanges") or {}
        self._space = space_of(self._ranges)
        self._objective = objective_of(tuning)
        self._limits: Document = config["ResourceLimits"]
        self._target = config.get("TuningJobCompletionCriteria", {}).get("TargetObjectiveMetricValue")
        self._seed: int = config.get("RandomSeed", _digest(self._arn, str(tuning["CreationTime"])) % _MOST_SEED)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._timer: threading.Timer | None = None

    def run(self) -> None:
        """Run trials until the limits are reached, the target is met or somebody asks for the end."""
        parallel = min(self._limits["MaxParallelTrainingJobs"], self._most())
        threads = max(1, self._context.cpu.total // parallel)
        unfinished = [trial["Name"] for trial in self._read()[TRIALS] if self._is_running(trial["Name"])]
        self._start_timer()
        slots = [
            threading.Thread(target=self._fill_slot, args=(unfinished[index : index + 1], threads), daemon=True)
            for index in range(parallel)
        ]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()
        if self._timer is not None:
            self._timer.cancel()
        if not self._context.stopping.is_set():
            self._conclude()

    def stop(self) -> None:
        """StopHyperParameterTuningJob: no new trial, and the running ones are stopped."""
        if self._change(only_from="InProgress", HyperParameterTuningJobStatus="Stopping"):
            self._end_trials()

    def shut_down(self) -> None:
        """Start nothing more; the trials are shut down on their own."""
        self._ending.set()

    def _most(self) -> int:
        return int(self._limits.get("MaxNumberOfTrainingJobs", 1_000_000))

    def _start_timer(self) -> None:
        seconds = self._limits.get("MaxRuntimeInSeconds")
        if seconds is not None:
            elapsed = self._context.now() - self._read()["CreationTime"]
            self._timer = threading.Timer(max(0.0, seconds - elapsed), self._end_trials)
            self._timer.daemon = True
            self._timer.start()

    def _end_trials(self) -> None:
        self._ending.set()
        for trial in self._read()[TRIALS]:
            run = self._jobs.find(TRAINING, trial["Name"])
            if run is not None:
                run.stop()

    def _fill_slot(self, first: list[str], threads: int) -> None:
        for name in first:
            self._await(name)
        while not self._ending.is_set() and not self._context.stopping.is_set():
            name_or_none = self._next_trial(threads)
            if name_or_none is None:
                return
            self._await(name_or_none)

    def _await(self, name: str) -> None:
        self._jobs.wait(TRAINING, name)
        job = self._context.table(TRAINING).get(name)
        value = self._objective.value(job) if job else None
        if job is None or value is None or self._target is None:
            return
        if value <= self._target if self._objective.minimise else value >= self._target:
            self._end_trials()

    def _next_trial(self, threads: int) -> str | None:
        """Suggest a point and start its training job; None when there is nothing more to try."""
        with self._lock:
            trials = self._read()[TRIALS]
            if len(trials) >= self._most():
                return None
            values = suggest(self._strategy, self._space, [self._as_trial(trial) for trial in trials], self._seed)
            if values is None:
                return None
            name = f"{self._name}-{len(trials) + 1:03d}-{_digest(self._arn, str(self._seed), str(len(trials))):08x}"
            trial = {"Name": name, "Values": values}
            self._table.update(self._name, lambda stored: stored[TRIALS].append(trial))
            try:
                begin_training_job(
                    self._context,
                    self._request(name, values),
                    threads=threads,
                    extra={"TuningJobArn": self._arn},
                )
            except AwsError as error:
                self._change(FailureReason=f"ClientError: {error.message}")
                self._ending.set()
                return None
            return name

    def _as_trial(self, trial: Document) -> Trial:
        job = self._context.table(TRAINING).get(trial["Name"])
        return Trial(trial["Values"], self._objective.loss(job) if job else None)

    def _request(self, name: str, values: dict[str, str]) -> Document:
        definition = self._definition
        passed_on = (
            "AlgorithmSpecification",
            "RoleArn",
            "InputDataConfig",
            "VpcConfig",
            "OutputDataConfig",
            "ResourceConfig",
            "StoppingCondition",
            "EnableNetworkIsolation",
            "EnableInterContainerTrafficEncryption",
            "EnableManagedSpotTraining",
            "CheckpointConfig",
            "RetryStrategy",
            "Environment",
        )
        parameters = definition.get("StaticHyperParameters", {}) | values
        return {key: definition[key] for key in passed_on if key in definition} | {
            "TrainingJobName": name,
            "HyperParameters": parameters | {"_tuning_objective_metric": json.dumps(self._objective.metric)},
        }

    def _is_running(self, name: str) -> bool:
        return self._jobs.find(TRAINING, name) is not None

    def _conclude(self) -> None:
        tuning = self._read()
        best = best_trial(self._context, tuning)
        if tuning["HyperParameterTuningJobStatus"] == "Stopping":
            status, reason = "Stopped", None
        elif best is None:
            status = "Failed"
            reason = tuning.get("FailureReason") or (
                f"No training job succeeded after {len(tuning[TRIALS])} attempts. For more details, take a look at the "
                "training jobs' failures."
            )
        else:
            status, reason = "Completed", None
        now = self._context.now()
        self._change(HyperParameterTuningJobStatus=status, FailureReason=reason, HyperParameterTuningEndTime=now)

    def _read(self) -> Document:
        tuning = self._table.get(self._name)
        if tuning is None:
            raise KeyError(f"tuning job {self._name} is gone from the store")
        return tuning

    def _change(self, *, only_from: str | None = None, **members: Any) -> bool:
        """Set members of the stored job (only while it has a certain status, if one is given); whether it did."""
        members["LastModifiedTime"] = self._context.now()
        changes = {name: value for name, value in members.items() if value is not None}
        changed: list[bool] = []

        def change(stored: Document) -> None:
            if only_from in (None, stored["HyperParameterTuningJobStatus"]):
                stored.update(changes)
                changed.append(True)

        tuning = self._table.update(self._name, change)
        if tuning is not None and changed:
            detail = {key: tuning[key] for key in ("HyperParameterTuningJobName", "HyperParameterTuningJobStatus")}
            self._context.emit_event("SageMaker HyperParameter Tuning Job State Change", detail, [self._arn])
        return bool(changed)


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
        "CreationTime": job["CreationTime"],
        "TrainingJobStatus": job["TrainingJobStatus"],
        "TunedHyperParameters": trial["Values"],
        "ObjectiveStatus": "Pending",
    }
    for member in ("TrainingStartTime", "TrainingEndTime", "FailureReason"):
        if member in job:
            summary[member] = job[member]
    if job["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}:
        summary["ObjectiveStatus"] = "Failed" if objective.loss(job) is None else "Succeeded"
    if value is not None and summary["ObjectiveStatus"] != "Pending":
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": objective.metric, "Value": value}
    return summary


def trial_summaries(context: Context, tuning: Document) -> list[Document]:
    """Every trial that has a training job, in the order they were suggested."""
    summaries = [trial_summary(context, tuning, trial) for trial in tuning[TRIALS]]
    return [summary for summary in summaries if summary is not None]


def best_trial(context: Context, tuning: Document) -> Document | None:
    """The trial with the best objective; None while there is none."""
    succeeded = [s for s in trial_summaries(context, tuning) if s["ObjectiveStatus"] == "Succeeded"]
    sign = 1 if objective_of(tuning).minimise else -1
    return min(succeeded, key=lambda s: sign * s["FinalHyperParameterTuningJobObjectiveMetric"]["Value"], default=None)


def counters(summaries: list[Document]) -> tuple[Document, Document]:
    """TrainingJobStatusCounters and ObjectiveStatusCounters of some trials."""
    jobs = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for summary in summaries:
        jobs[_COUNTERS[summary["TrainingJobStatus"]]] += 1
        objectives[summary["ObjectiveStatus"]] += 1
    return jobs, objectives


def _digest(*parts: str) -> int:
    """32 bits that depend on nothing but the parts."""
    return int(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8], 16)
