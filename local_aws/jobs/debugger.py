"""SageMaker Debugger: what a training job asks of it is refused, and what SDKs send unasked is named in the job's log.

AWS has closed Debugger to new customers since 30 July 2026. The Python SDK (version 2) sends a hook and a profiler with
every job, which no one has asked for: they write nothing without the closed service, and a job with them runs.
"""

from __future__ import annotations

from local_aws.core.errors import validation
from local_aws.core.protocol import Document

_CLOSED = "Amazon SageMaker Debugger is no longer open to new customers"


def refuse_debugger(request: Document) -> None:
    """Refuse rules, collections of tensors and profiling that a request asks for."""
    if asked := _asked_for(request):
        raise validation(
            f"{_CLOSED}, and {', '.join(asked)} would do nothing here. Leave it out; the training scripts of this "
            "project have rules and a profiler of their own (the hyperparameters watch and profile-steps)"
        )


def unasked(request: Document) -> str | None:
    """A line for the log of a job whose request has a hook or a profiler that does nothing; None without."""
    hook = "DebugHookConfig" if "DebugHookConfig" in request else ""
    profiles = "ProfilerConfig" in request and not request["ProfilerConfig"].get("DisableProfiler")
    profiler = "ProfilerConfig" if profiles else ""
    names = " and ".join(name for name in (hook, profiler) if name)
    return f"[local_aws] {_CLOSED}: {names} of this job's request writes nothing" if names else None


def _asked_for(request: Document) -> list[str]:
    asked = {
        "DebugRuleConfigurations": request.get("DebugRuleConfigurations"),
        "ProfilerRuleConfigurations": request.get("ProfilerRuleConfigurations"),
        "DebugHookConfig.CollectionConfigurations": request.get("DebugHookConfig", {}).get("CollectionConfigurations"),
        "DebugHookConfig.HookParameters": request.get("DebugHookConfig", {}).get("HookParameters"),
        "ProfilerConfig.ProfilingParameters": request.get("ProfilerConfig", {}).get("ProfilingParameters"),
        "TensorBoardOutputConfig": request.get("TensorBoardOutputConfig"),
    }
    return [name for name, given in asked.items() if given]
