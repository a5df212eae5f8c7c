"""A stop is kept at any moment: while a job is being started, and after a restart before it is started again."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.hosting import fleet as fleets
from local_aws.hosting.fleet import Fleet, VariantPlan
from local_aws.hosting.instance import InstanceSpec
from local_aws.jobs import training_run
from local_aws.jobs.job_kind import JobKind
from local_aws.jobs.machine import JobMachine
from local_aws.jobs.processing import PROCESSING_JOBS, ProcessingRun
from local_aws.jobs.running import Jobs, Run
from local_aws.jobs.training import TRAINING_JOBS
from local_aws.jobs.training_run import Ending, TrainingRun
from local_aws.jobs.transform import TRANSFORM_JOBS
from local_aws.pipelines import pipelines, step_work
from local_aws.pipelines.execution_record import FAMILY as EXECUTIONS
from local_aws.pipelines.execution_record import STEPS
from local_aws.pipelines.executor import PipelineRun
from local_aws.registry import operations
from local_aws.tuning import search, tuner, tuning_jobs
from local_aws.tuning.records import FAMILY as TUNING
from local_aws.tuning.records import TRIALS
from local_aws.tuning.tuning_jobs import TUNING_JOBS

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
EXECUTION = f"{ARN}:pipeline/line/execution/one"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1")
    yield context
    context.stop()


class Stopped:
    """Runs until it is stopped."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def run(self) -> None:
        self.asked.wait(60)

    def stop(self) -> None:
        self.asked.set()

    def shut_down(self) -> None:
        self.asked.set()


class Watched:
    """A lock that notes when a thread comes to it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.came = threading.Event()

    def __enter__(self) -> None:
        self.came.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def stopped_meanwhile(holder: Any, lock: str, stopper: threading.Thread, run: Run) -> Callable[..., Run]:
    """What starts `run` and, before it has it, the stopper, which has to come to the lock of the holder."""

    def started(*_: object, **__: object) -> Run:
        watched = Watched(getattr(holder, lock))
        setattr(holder, lock, watched)
        stopper.start()
        assert watched.came.wait(60), "it did not look whether something is being started"
        return run

    return started


def executing(context: Context, *steps: dict[str, Any], **more: Any) -> None:
    """Stores a running execution of these steps; `more` replaces or adds fields."""
    definition = {"Version": "2020-12-01", "Steps": [{"Name": "A", "Arguments": {}, **step} for step in steps]}
    execution = {
        "PipelineArn": f"{ARN}:pipeline/line",
        "PipelineExecutionArn": EXECUTION,
        "PipelineExecutionStatus": "Executing",
        "CreationTime": 0.0,
        "LastModifiedTime": 0.0,
        "_Definition": json.dumps(definition),
        "_Parameters": {},
        STEPS: {},
        **more,
    }
    context.table(EXECUTIONS).put(EXECUTION, execution)


def test_a_stop_while_a_job_is_being_started_stops_it(context: Context) -> None:
    """The job is stored, so it can be listed and stopped; it does not run yet."""
    jobs, run = context.shared(Jobs), Stopped()
    request = {"ProcessingJobName": "early"}
    stopper = threading.Thread(target=PROCESSING_JOBS.stop, args=(context, request))
    started = stopped_meanwhile(jobs, "starting", stopper, run)
    kind = JobKind("ProcessingJob", "processing job", lambda *_: None, lambda *_: {}, started)
    kind.create(context, request)
    stopper.join()
    assert run.asked.is_set()
    jobs.wait("ProcessingJob", "early")


def test_an_execution_that_is_retried_while_its_first_run_ends_can_be_stopped(context: Context) -> None:
    """Its status is final a moment before its thread has ended."""
    jobs, first, second = context.shared(Jobs), Stopped(), Stopped()
    jobs.start(EXECUTIONS, EXECUTION, first)
    ending = jobs._running[EXECUTIONS, EXECUTION][1]
    jobs.start(EXECUTIONS, EXECUTION, second)
    first.stop()
    ending.join()
    assert jobs.find(EXECUTIONS, EXECUTION) is second
    second.stop()
    jobs.wait(EXECUTIONS, EXECUTION)
    assert jobs.find(EXECUTIONS, EXECUTION) is None


def stored(family: str) -> dict[str, Any]:
    return {
        f"{family}Name": "cut",
        f"{family}Arn": f"{ARN}:{family.lower()}/cut",
        f"{family}Status": "InProgress",
        "CreationTime": 0.0,
    }


def searching() -> dict[str, Any]:
    """A stored tuning job without trials."""
    objective = {"MetricName": "loss", "Type": "Minimize"}
    machine = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    config = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": objective,
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "shape", "Values": ["round", "flat"]}]},
    }
    definition = {"ResourceConfig": machine}
    return stored(TUNING) | {"HyperParameterTuningJobConfig": config, "TrainingJobDefinition": definition, TRIALS: []}


@pytest.mark.parametrize(
    "kind", [PROCESSING_JOBS, TRAINING_JOBS, TRANSFORM_JOBS, TUNING_JOBS], ids=lambda kind: str(kind.family)
)
def test_a_job_that_is_stopped_before_a_restart_has_resumed_it_has_stopped(context: Context, kind: JobKind) -> None:
    table = context.table(kind.family)
    table.put("cut", stored(kind.family))
    kind.stop(context, {f"{kind.family}Name": "cut"})
    assert (table.get("cut") or {})[f"{kind.family}Status"] == "Stopping"
    kind.resume(context)
    job = table.get("cut") or {}
    assert job[f"{kind.family}Status"] == "Stopped"
    assert context.shared(Jobs).find(kind.family, "cut") is None
    with pytest.raises(AwsError, match="is in status Stopped"):
        kind.stop(context, {f"{kind.family}Name": "cut"})


def test_an_execution_that_is_stopped_before_a_restart_has_resumed_it_has_stopped(context: Context) -> None:
    executing(context, {"Type": "Fail"})
    pipelines.stop_pipeline_execution(context, {"PipelineExecutionArn": EXECUTION})
    pipelines.resume(context)
    ended = context.table(EXECUTIONS).get(EXECUTION) or {}
    assert (ended["PipelineExecutionStatus"], ended[STEPS]) == ("Stopped", {})


def test_an_execution_whose_stop_a_restart_cut_off_stops_the_jobs_that_run_again(tmp_path: Path) -> None:
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1", operations=operations())
    jobs, table = context.shared(Jobs), context.table("ProcessingJob")
    described = {
        "ProcessingJobArn": f"{ARN}:processing-job/cut",
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        },
    }
    table.put("cut", stored("ProcessingJob") | described)

    class Job(Stopped):
        """Stores that it has ended, as a job does."""

        def run(self) -> None:
            super().run()
            table.update("cut", lambda job: job.update(ProcessingJobStatus="Stopped"))

    run = Job()
    jobs.start("ProcessingJob", "cut", run)
    steps = [
        {"Name": "Long", "Type": "Processing", "Arguments": {}},
        {"Name": "Look", "Type": "Lambda", "FunctionArn": "function", "Arguments": {}},
        {"Name": "Never", "Type": "Fail", "Arguments": {}},
    ]
    running = {name: {"StepName": name, "StepStatus": "Executing", "StartTime": 0.0} for name in ("Long", "Look")}
    running["Long"]["_Job"] = "cut"
    more = {"_Id": "one", "_PipelineName": "line", "PipelineExecutionStatus": "Stopping", STEPS: running}
    executing(context, *steps, **more)
    pipelines.resume(context)
    jobs.wait(EXECUTIONS, EXECUTION)
    assert run.asked.is_set()
    ended = context.table(EXECUTIONS).get(EXECUTION) or {}
    assert ended["PipelineExecutionStatus"] == "Stopped"
    assert {name: step["StepStatus"] for name, step in ended[STEPS].items()} == {"Long": "Stopped", "Look": "Stopped"}
    context.stop()


def test_a_tuning_job_whose_stop_a_restart_cut_off_stops_the_trials_that_run_again(context: Context) -> None:
    jobs, trial = context.shared(Jobs), Stopped()
    context.table("TrainingJob").put("trial", stored("TrainingJob") | {"TrainingJobName": "trial"})
    jobs.start("TrainingJob", "trial", trial)
    tuning = searching() | {TRIALS: [{"Name": "trial", "Values": {"shape": "flat"}}]}
    context.table(TUNING).put("cut", tuning | {"HyperParameterTuningJobStatus": "Stopping"})
    tuning_jobs.resume(context)
    jobs.wait(TUNING, "cut")
    assert trial.asked.is_set()
    assert (context.table(TUNING).get("cut") or {})["HyperParameterTuningJobStatus"] == "Stopped"


def test_a_step_that_has_ended_is_not_stopping_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job may end between the look at the steps that run and the stop of their jobs."""
    running = {"StepName": "A", "StepStatus": "Executing", "StartTime": 0.0, "_Job": "a"}
    executing(context, {"Type": "Training"}, **{STEPS: {"A": running}})
    run = PipelineRun(context, EXECUTION)
    seen = run._record.read()
    run._record.change_step(run._definition.steps["A"], StepStatus="Succeeded")
    monkeypatch.setattr(run._record, "read", lambda: seen)
    monkeypatch.setattr(step_work, "stop_job", lambda *_: None)
    run.stop()
    ended = context.table(EXECUTIONS).get(EXECUTION) or {}
    assert ended[STEPS]["A"]["StepStatus"] == "Succeeded"


def test_a_tuning_job_that_is_stopped_while_it_starts_a_trial_stops_the_trial(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is among the trials, and does not run yet."""
    context.table(TUNING).put("cut", searching())
    run, trial = tuner.TuningRun(context, "cut"), Stopped()
    stopper = threading.Thread(target=run.stop)
    started = stopped_meanwhile(run, "_lock", stopper, trial)
    monkeypatch.setattr(tuner, "TrainingRun", started)
    kind = JobKind("TrainingJob", "training job", lambda *_: None, lambda *_: {}, started)
    monkeypatch.setattr(tuner, "TRAINING_JOBS", kind)
    run.run()
    stopper.join()
    assert trial.asked.is_set()
    ended = context.table(TUNING).get("cut") or {}
    assert (ended["HyperParameterTuningJobStatus"], len(ended[TRIALS])) == ("Stopped", 1)


def test_a_job_can_be_reclaimed_as_soon_as_it_says_that_it_trains(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = stored("TrainingJob") | {
        "AlgorithmSpecification": {"MetricDefinitions": []},
        "EnableManagedSpotTraining": True,
        "ResourceConfig": {"InstanceCount": 1},
    }
    context.table("TrainingJob").put("cut", job)
    run = TrainingRun(context, "cut")
    reclaimed: list[bool] = []

    class Seen(Exception):
        """Ends the attempt; nothing is started here."""

    def move(secondary: str, **_: object) -> None:
        if secondary == "Training":
            reclaimed.append(run.reclaim())
            raise Seen

    monkeypatch.setattr(JobMachine, "make", lambda *_: None)
    monkeypatch.setattr(run, "_prepare", lambda *_: None)
    monkeypatch.setattr(run._record, "move", move)
    with pytest.raises(Seen):
        run._on_machines(job)
    assert reclaimed == [True]
    assert not run.reclaim(), "it does not train any more"


def test_a_job_that_is_stopped_while_it_downloads_starts_no_process(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = {"InstanceType": "ml.m5.large", "InstanceCount": 1}
    training = stored("TrainingJob") | {"AlgorithmSpecification": {}, "ResourceConfig": machines}
    processing = stored("ProcessingJob") | {"ProcessingResources": {"ClusterConfig": machines}}
    context.table("TrainingJob").put("cut", training)
    context.table("ProcessingJob").put("cut", processing)
    monkeypatch.setattr(JobMachine, "make", lambda *_: None)

    def start(*_: object) -> None:
        raise AssertionError("a process was started")

    run = TrainingRun(context, "cut")
    monkeypatch.setattr(run, "_prepare", lambda *_: run.stop())
    monkeypatch.setattr(run, "_start", start)
    assert run._on_machines(training) == (Ending.STOPPED, "")

    other = ProcessingRun(context, "cut")
    monkeypatch.setattr(other, "_prepare", lambda *_: other.stop())
    monkeypatch.setattr(other, "_start", start)
    assert other._on_machines(processing) == {"ProcessingJobStatus": "Stopped"}


def test_machines_are_reclaimed_once_and_a_stop_comes_before_what_is_left_of_it(context: Context) -> None:
    """Between two attempts, a stop would otherwise count as another interruption."""
    job = stored("TrainingJob") | {"AlgorithmSpecification": {}, "EnableManagedSpotTraining": True}
    context.table("TrainingJob").put("cut", job)
    run = TrainingRun(context, "cut")
    run._training.set()
    assert [run.reclaim(), run.reclaim()] == [True, False]
    run.stop()
    assert run._first_ending() is Ending.STOPPED


def test_the_time_in_line_for_processors_is_no_wait_for_capacity(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a job that waited for others would end as soon as it starts; a clock of the test's own counts."""
    clock = SimpleNamespace(now=5_000.0)
    monkeypatch.setattr(training_run, "time", SimpleNamespace(monotonic=lambda: clock.now, time=time.time))
    for name in ("image_problem", "job_problem"):
        monkeypatch.setattr(training_run, name, lambda *_: "")
    monkeypatch.setattr(training_run, "may_publish", lambda *_: True)
    limits = {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 200}
    job = stored("TrainingJob") | {"AlgorithmSpecification": {}, "StoppingCondition": limits, "CreationTime": 0.0}
    context.table("TrainingJob").put("patient", job)
    run = TrainingRun(context, "patient")

    @contextlib.contextmanager
    def places(*_: object, **__: object) -> Iterator[int]:
        clock.now += 1_000
        yield 1

    monkeypatch.setattr(context.cpu, "places", places)
    found: list[tuple[float, Ending]] = []

    def on_machines(job: dict[str, Any]) -> tuple[Ending, str]:
        found.append(run._limit(job))
        clock.now += 150  # until an interruption, and the wait for other machines
        return Ending.RECLAIMED, ""

    monkeypatch.setattr(run, "_on_machines", on_machines)
    run._attempt()
    run._attempt()
    assert found == [(6_100.0, Ending.TOO_LONG), (7_200.0, Ending.WAITED_TOO_LONG)]


@pytest.mark.parametrize("found", [False, True])
def test_a_search_that_breaks_fails_with_the_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """Though a trial has succeeded: fewer trials than were asked for must not look like all of them."""
    score = {"FinalMetricDataList": [{"MetricName": "loss", "Value": 1.0}], "TrainingEndTime": 1.0}
    trial = stored("TrainingJob") | {"TrainingJobName": "trial", "TrainingJobStatus": "Completed"} | score
    context.table("TrainingJob").put("trial", trial)
    trials = [{"Name": "trial", "Values": {"shape": "flat"}}] if found else []
    context.table(TUNING).put("cut", searching() | {TRIALS: trials})

    def breaks(*_: object) -> None:
        raise ArithmeticError("no more points")

    monkeypatch.setattr(search, "suggest", breaks)
    tuner.TuningRun(context, "cut").run()
    ended = context.table(TUNING).get("cut") or {}
    assert ended["HyperParameterTuningJobStatus"] == "Failed"
    assert ended["FailureReason"] == "InternalServerError: ArithmeticError('no more points')"


def test_an_instance_that_ends_the_moment_it_is_healthy_is_replaced(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet must have it before it is watched, or nothing replaces it."""
    made: list[Dying] = []

    class Dying:
        """The first one ends at once."""

        outstanding = 0

        def __init__(self, _: Context, __: InstanceSpec, lost: Any) -> None:
            self._lost = lost
            made.append(self)

        def start(self, _: threading.Event) -> None:
            """Is healthy."""

        def watch(self) -> None:
            if self is made[0]:
                self._lost(self)

        def stop(self, *, drain: bool = True) -> None:
            """Has ended."""

    monkeypatch.setattr(fleets, "Instance", Dying)
    spec = InstanceSpec(endpoint="e", variant="v", container={}, model_package=None, role=None, startup_seconds=1.0)
    fleet = Fleet(context, VariantPlan(spec, 1, 1.0))
    fleet.start()
    assert (fleet.count, len(made)) == (1, 2)
