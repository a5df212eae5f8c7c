"""How a hyperparameter tuning job runs: it suggests points and runs each as a training job."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.protocol import Document
from local_aws.jobs.records import TRAINING
from local_aws.jobs.running import Jobs
from local_aws.jobs.training import TRAINING_JOBS
from local_aws.jobs.training_run import TrainingRun
from local_aws.tuning.records import (
    FAMILY,
    TRIALS,
    TuningRecord,
    best_trial,
    counters,
    not_improving,
    objective_of,
    ranges_of,
    resources_of,
    space_of,
    trial_summaries,
)
from local_aws.tuning.space import TriedPoint
from local_aws.tuning.stopping import rule_of
from local_aws.tuning.trial_watch import TrialWatch
from local_aws.tuning.warm_start import earlier_trials

_MOST_SEED = 2**31


class TuningRun:
    """Runs the stored tuning job `name`; after a restart it continues with the trials that ran."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._jobs = context.shared(Jobs)
        self._record = TuningRecord(context, name)
        self._name = name
        tuning = self._record.read()
        config = tuning["HyperParameterTuningJobConfig"]
        self._arn: str = tuning["HyperParameterTuningJobArn"]
        self._strategy: str = config["Strategy"]
        self._definition: Document = tuning["TrainingJobDefinition"]
        self._space = space_of(ranges_of(tuning))
        self._objective = objective_of(tuning)
        self._limits: Document = config["ResourceLimits"]
        criteria = config.get("TuningJobCompletionCriteria", {})
        self._target = criteria.get("TargetObjectiveMetricValue")
        self._idle_limit = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        rule = rule_of(config, self._definition.get("StaticHyperParameters", {}))
        self._watch = TrialWatch(context, name, rule) if rule else None
        self._seed: int = config.get("RandomSeed", _digest(self._arn, str(tuning["CreationTime"])) % _MOST_SEED)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._timer: threading.Timer | None = None
        self._broken: str | None = None
        """Why no further trial could be started: the tuning job has then failed, whatever its trials found."""

    def run(self) -> None:
        """Run trials until a limit or the target is reached, or the tuning job is stopped."""
        parallel = min(self._limits["MaxParallelTrainingJobs"], self._most())
        threads = max(1, self._context.cpu.total // parallel)
        unfinished = [trial["Name"] for trial in self._record.read()[TRIALS] if self._is_running(trial["Name"])]
        for name in unfinished:
            run = self._jobs.find(TRAINING, name)
            if self._watch is not None and isinstance(run, TrainingRun):
                self._watch.follow(name, run, resumed=True)
        if self._record.read()["HyperParameterTuningJobStatus"] == "Stopping":  # asked for before a restart
            self._end_trials()
        self._start_timer()
        slots = [
            self._context.start_thread(
                f"trials of {self._name}", partial(self._fill_slot, unfinished[index : index + 1], threads)
            )
            for index in range(parallel)
        ]
        for slot in slots:
            slot.join()
        if self._timer is not None:
            self._timer.cancel()
        if not self._context.stopping.is_set():
            self._conclude()

    def stop(self) -> None:
        """StopHyperParameterTuningJob: start no new trial and stop the running ones."""
        if self._record.change(only_from="InProgress", HyperParameterTuningJobStatus="Stopping"):
            self._end_trials()

    def shut_down(self) -> None:
        """Start no new trial; the running ones are shut down as training jobs."""
        self._ending.set()

    def _most(self) -> int:
        return int(self._limits.get("MaxNumberOfTrainingJobs", 1_000_000))

    def _start_timer(self) -> None:
        seconds = self._limits.get("MaxRuntimeInSeconds")
        if seconds is not None:
            elapsed = self._context.now() - self._record.read()["CreationTime"]
            self._timer = threading.Timer(max(0.0, seconds - elapsed), self._end_trials)
            self._timer.daemon = True
            self._timer.start()

    def _end_trials(self) -> None:
        self._ending.set()
        with self._lock:  # a trial that is being started is among them
            trials = self._record.read()[TRIALS]
        for trial in trials:
            run = self._jobs.find(TRAINING, trial["Name"])
            if run is not None:
                run.stop()

    def _fill_slot(self, first: list[str], threads: int) -> None:
        try:
            for name in first:
                self._await(name)
            while not self._ending.is_set() and not self._context.stopping.is_set():
                name_or_none = self._next_trial(threads)
                if name_or_none is None:
                    return
                self._await(name_or_none)
        except Exception as error:
            self._broken = f"InternalServerError: {error!r}"
            self._end_trials()
            raise

    def _await(self, name: str) -> None:
        self._jobs.wait(TRAINING, name)
        job = self._context.table(TRAINING).get(name)
        if job is not None and (self._reached_target(job) or self._is_idle()):
            self._end_trials()

    def _reached_target(self, job: Document) -> bool:
        loss = self._objective.loss(job)  # of a trial that has failed, what it printed does not count
        if loss is None or self._target is None:
            return False
        return bool(loss <= (self._target if self._objective.minimise else -self._target))

    def _is_idle(self) -> bool:
        return self._idle_limit is not None and not_improving(self._context, self._record.read()) >= self._idle_limit

    def _next_trial(self, threads: int) -> str | None:
        """Suggest a point and start its training job; returns None when no point is left."""
        with self._lock:
            trials = self._record.read()[TRIALS]
            if self._ending.is_set() or len(trials) >= self._most():
                return None
            values = self._suggest(trials)
            if values is None:
                return None
            name = f"{self._name}-{len(trials) + 1:03d}-{_digest(self._arn, str(self._seed), str(len(trials))):08x}"
            trial = {"Name": name, "Values": values}
            self._context.table(FAMILY).update(self._name, lambda stored: stored[TRIALS].append(trial))
            try:
                TRAINING_JOBS.create(
                    self._context,
                    self._request(name, values),
                    run=partial(self._trial, threads=threads),
                    more={"TuningJobArn": self._arn},
                )
            except AwsError as error:
                self._broken = f"ClientError: {error.message}"
                self._ending.set()
                return None
            return name

    def _trial(self, context: Context, name: str, threads: int) -> TrainingRun:
        """What runs a trial; followed before it starts, so that none of its values is missed."""
        run = TrainingRun(context, name, threads=threads)
        if self._watch is not None:
            self._watch.follow(name, run)
        return run

    def _suggest(self, trials: list[Document]) -> dict[str, str] | None:
        from local_aws.tuning.search import suggest  # and numpy, which no start of a local AWS waits for

        known = [self._as_trial(trial) for trial in trials]
        if self._strategy != "Grid":  # a grid counts only its own points
            known = earlier_trials(self._context, self._record.read(), self._space) + known
        return suggest(self._strategy, self._space, known, self._seed)

    def _as_trial(self, trial: Document) -> TriedPoint:
        job = self._context.table(TRAINING).get(trial["Name"])
        return TriedPoint(trial["Values"], self._objective.loss(job) if job else None)

    def _request(self, name: str, values: dict[str, str]) -> Document:
        definition = self._definition
        copied = (
            "AlgorithmSpecification",
            "RoleArn",
            "InputDataConfig",
            "VpcConfig",
            "OutputDataConfig",
            "StoppingCondition",
            "EnableNetworkIsolation",
            "EnableInterContainerTrafficEncryption",
            "EnableManagedSpotTraining",
            "CheckpointConfig",
            "RetryStrategy",
            "Environment",
        )
        parameters = definition.get("StaticHyperParameters", {}) | values
        return {key: definition[key] for key in copied if key in definition} | {
            "TrainingJobName": name,
            "ResourceConfig": resources_of(definition),
            "HyperParameters": parameters | {"_tuning_objective_metric": json.dumps(self._objective.metric)},
        }

    def _is_running(self, name: str) -> bool:
        return self._jobs.find(TRAINING, name) is not None

    def _conclude(self) -> None:
        tuning = self._record.read()
        best = best_trial(self._context, tuning)
        if tuning["HyperParameterTuningJobStatus"] == "Stopping":
            status, reason = "Stopped", None
        elif self._broken or best is None:
            status, reason = "Failed", self._broken or self._why_none(tuning)
        else:
            status, reason = "Completed", None
        now = self._context.now()
        self._record.change(HyperParameterTuningJobStatus=status, FailureReason=reason, HyperParameterTuningEndTime=now)

    def _why_none(self, tuning: Document) -> str:
        """Why a tuning job has no best trial: all of them failed, or none that ended well printed the objective."""
        jobs, _ = counters(trial_summaries(self._context, tuning))
        if not jobs["Completed"]:
            return (
                f"No training job succeeded after {len(tuning[TRIALS])} attempts. For more details, take a look at the "
                "training jobs' failures."
            )
        return (
            f"No objective metrics found after running {len(tuning[TRIALS])} training jobs. Please ensure that the "
            f"custom algorithm is emitting the objective metric ({self._objective.metric}) as defined by the regular "
            "expression provided."
        )


def _digest(*parts: str) -> int:
    """32 bits that depend on the parts only."""
    return int(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8], 16)
