"""How a pipeline execution runs: each step starts when the steps that it needs have succeeded."""

from __future__ import annotations

import queue
import threading
import time
from functools import partial
from typing import Any

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.pipelines import lambda_step, step_work
from local_aws.pipelines.definition import Definition, PipelineStep, read_definition
from local_aws.pipelines.execution_record import ENDED, STEPS, ExecutionRecord, execution_values
from local_aws.pipelines.expressions import ExpressionError, Resolver
from local_aws.pipelines.retry_policy import RetryPolicy, policy_for
from local_aws.pipelines.step_work import JOB_KINDS, Interrupted, StepFailure

_FAILED = "Step failure: One or multiple steps failed."
_UNLIMITED = 1_000_000
_MAX_REASON = 1024


class PipelineRun:
    """Runs the stored execution `arn`; after a restart it continues with the steps that ran."""

    def __init__(self, context: Context, arn: str) -> None:
        self._context = context
        self._record = ExecutionRecord(context, arn)
        execution = self._record.read()
        self._definition: Definition = read_definition(execution["_Definition"])
        self._parameters: Document = execution["_Parameters"]
        limit = execution.get("ParallelismConfiguration", {}).get("MaxParallelExecutionSteps", _UNLIMITED)
        self._parallel: int = limit
        self._ended: queue.Queue[str] = queue.Queue()
        self._running: set[str] = set()
        self._ending = threading.Event()
        self._timed_out = threading.Event()
        """Set when a function outlasted its step: an execution that was to stop has then failed."""

    def run(self) -> None:
        """Run steps until no more can start."""
        if self._record.read()["PipelineExecutionStatus"] == "Stopping":
            self._stop_what_ran()
        while True:
            self._start_ready_steps()
            if not self._running:
                break
            self._running.discard(self._ended.get())
        if not self._context.stopping.is_set():
            self._conclude()

    def stop(self) -> None:
        """StopPipelineExecution: start no more steps and stop the jobs that run."""
        if not self._record.change(only_from="Executing", PipelineExecutionStatus="Stopping"):
            return
        self._ending.set()
        for step, job in self._unfinished():
            if job:
                self._record.change_step(step, StepStatus="Stopping")
                step_work.stop_job(self._context, step, job)

    def shut_down(self) -> None:
        """Start no more steps; the jobs are shut down separately."""
        self._ending.set()

    def _stop_what_ran(self) -> None:
        """Stop the steps that ran when the local AWS ended in the middle of a stop: their jobs run again."""
        self._ending.set()
        for step, job in self._unfinished():
            if job:
                step_work.stop_job(self._context, step, job)
                self._start(step)
            else:
                self._record.change_step(step, StepStatus="Stopped")

    def _unfinished(self) -> list[tuple[PipelineStep, str]]:
        """The steps that have started and not ended, with the names of their jobs; empty where one has none."""
        stored = self._record.read()[STEPS]
        return [
            (self._definition.steps[name], step.get("_Job", ""))
            for name, step in stored.items()
            if step["StepStatus"] not in ENDED
        ]

    def _start(self, step: PipelineStep) -> None:
        self._running.add(step.name)
        self._context.start_thread(f"step/{step.name}", partial(self._run_step, step))

    def _start_ready_steps(self) -> None:
        if self._ending.is_set() or self._context.stopping.is_set():
            return
        stored = self._record.read()[STEPS]
        if any(self._definition.steps[name].type == "Fail" for name in stored):
            return
        for step in self._definition.steps.values():
            if len(self._running) >= self._parallel:
                return
            if step.name not in self._running and _is_ready(step, stored):
                # Here and not in its thread, so that steps which start together are listed as they are defined.
                self._record.begin_step(step)
                self._start(step)

    def _conclude(self) -> None:
        execution = self._record.read()
        statuses = {step["StepStatus"] for step in execution[STEPS].values()}
        if execution["PipelineExecutionStatus"] == "Stopping" and not self._timed_out.is_set():
            self._record.end("Stopped")
        elif statuses <= {"Succeeded"}:
            self._record.end("Succeeded")
        else:
            self._record.end("Failed", _FAILED)

    def _run_step(self, step: PipelineStep) -> None:
        try:
            with self._context.acting(self._role()):
                self._with_retries(step)
            self._record.change_step(step, StepStatus="Succeeded")
        except Interrupted:
            pass
        except (StepFailure, ExpressionError) as error:
            if isinstance(error, lambda_step.LambdaTimeout):
                self._timed_out.set()
            stopped = isinstance(error, StepFailure) and error.stopped and self._ending.is_set()
            reason = error.reason if isinstance(error, StepFailure) else f"ClientError: {error}"
            if not self._context.stopping.is_set():
                self._record.change_step(
                    step,
                    StepStatus="Stopped" if stopped else "Failed",
                    FailureReason=None if stopped else reason[:_MAX_REASON],
                )
        except Exception as error:
            if not self._context.stopping.is_set():
                self._record.change_step(step, StepStatus="Failed", FailureReason=f"InternalServerError: {error!r}")
                raise
        finally:
            self._ended.put(step.name)

    def _role(self) -> str | None:
        """The role of the pipeline, which its steps have."""
        arn = self._record.read()["PipelineArn"]
        pipelines = self._context.table("Pipeline").all()
        return next((pipeline["RoleArn"] for pipeline in pipelines if pipeline["PipelineArn"] == arn), None)

    def _with_retries(self, step: PipelineStep) -> None:
        tried: dict[RetryPolicy, int] = {}
        started = time.monotonic()
        while True:
            try:
                self._attempt(step)
                return
            except StepFailure as error:
                policy = policy_for(step.retries, step.type, error.kind)
                if policy is None or self._ending.is_set():
                    raise
                count = tried.get(policy, 0)
                pause = policy.pause(count)
                if not policy.allows(count, time.monotonic() + pause - started) or self._ending.wait(pause):
                    raise
                tried[policy] = count + 1
                attempts = 1 + sum(tried.values())
                self._record.change_step(step, AttemptCount=attempts, StepStatus="Starting", _Job="")

    def _attempt(self, step: PipelineStep) -> None:
        execution = self._record.read()
        resolver = self._resolver(execution)
        if step.type in JOB_KINDS:
            self._run_job(step, execution, resolver)
            return
        arguments = resolver.resolve(step.arguments) if step.type != "Condition" else step.arguments
        self._record.change_step(step, StepStatus="Executing")
        metadata, properties = self._do(step, arguments, execution, resolver)
        self._record.change_step(step, Metadata=metadata, _Properties=properties)

    def _do(
        self, step: PipelineStep, arguments: Document, execution: Document, resolver: Resolver
    ) -> tuple[Document, Document]:
        """Run a step that is not a job; returns its metadata and properties."""
        if step.type == "Condition":
            outcome = all(resolver.holds(condition) for condition in arguments["Conditions"])
            return {"Condition": {"Outcome": "True" if outcome else "False"}}, {"Outcome": outcome}
        if step.type == "Fail":
            message = str(arguments.get("ErrorMessage", ""))
            self._record.change_step(step, Metadata={"Fail": {"ErrorMessage": message}})
            raise StepFailure(message)
        if step.type == "RegisterModel":
            package = step_work.register_model(self._context, arguments)
            return {"RegisterModel": {"Arn": package["ModelPackageArn"]}}, package
        if step.type == "Model":
            model = step_work.create_model(self._context, arguments, execution["_Id"], step.name)
            return {"Model": {"Arn": model["ModelArn"]}}, model
        function = str(resolver.resolve(step.function))
        self._record.change_step(step, Metadata=lambda_step.metadata(function))
        outputs = lambda_step.invoke_function(self._context, step, function, arguments)
        return lambda_step.metadata(function, outputs), {"OutputParameters": outputs}

    def _run_job(self, step: PipelineStep, execution: Document, resolver: Resolver) -> None:
        kind = JOB_KINDS[step.type]
        stored = self._record.step(step.name) or {}
        key: str | None = stored.get("_CacheKey")
        name: str = stored.get("_Job", "")
        metadata: Document = stored.get("Metadata", {})
        if not name:
            arguments = resolver.resolve(step.arguments)
            key = step_work.cache_key(execution["_PipelineName"], step, arguments)
            if key and self._reuse(step, key):
                return
            name, arn = step_work.start_job(self._context, step, arguments, execution["_Id"])
            metadata = {kind.metadata: {"Arn": arn}}
            self._record.change_step(step, StepStatus="Executing", Metadata=metadata, _Job=name, _CacheKey=key)
            if self._ending.is_set() and not self._context.stopping.is_set():
                step_work.stop_job(self._context, step, name)
        properties = step_work.await_job(self._context, step, name)
        self._record.change_step(step, _Properties=properties)
        if key:
            self._record.remember_success(key, metadata, properties)

    def _reuse(self, step: PipelineStep, key: str) -> bool:
        """Take the result of an equal earlier run, if the cache has one; returns whether it has."""
        earlier = self._record.earlier_success(key, step.cache_seconds or 0.0)
        if earlier is None:
            return False
        self._record.change_step(
            step,
            Metadata=earlier["Metadata"],
            CacheHitResult={"SourcePipelineExecutionArn": earlier["Execution"]},
            _Properties=earlier["Properties"],
        )
        return True

    def _resolver(self, execution: Document) -> Resolver:
        properties = {name: stored.get("_Properties", {}) for name, stored in execution[STEPS].items()}

        def read_json(step: str, file: str) -> Any:
            return step_work.read_property_file(
                self._context, self._definition.steps[step], properties.get(step, {}), file
            )

        return Resolver(self._parameters, execution_values(execution, self._context.now()), properties, read_json)


def _is_ready(step: PipelineStep, stored: dict[str, Document]) -> bool:
    """Whether a step can start: it has not ended, the steps it needs succeeded, and its condition has its outcome."""
    if step.name in stored and stored[step.name]["StepStatus"] in ENDED:
        return False
    if any(stored.get(name, {}).get("StepStatus") != "Succeeded" for name in step.needs):
        return False
    if step.condition is None:
        return True
    decider, wanted = step.condition
    decided = stored.get(decider, {})
    return decided.get("StepStatus") == "Succeeded" and decided["_Properties"]["Outcome"] is wanted
