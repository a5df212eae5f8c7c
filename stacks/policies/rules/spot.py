"""A spot job has time to wait and a checkpoint to come back to."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, Step
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.jobs():
        if step.type in ("Training", "Tuning") and step.job.get("EnableManagedSpotTraining"):
            yield from _of_spot(step)


def _of_spot(step: Step) -> Iterator[Finding]:
    stopping = step.job.get("StoppingCondition", {})
    runtime, wait = stopping.get("MaxRuntimeInSeconds"), stopping.get("MaxWaitTimeInSeconds")
    if runtime is None or wait is None or wait < runtime:
        yield Finding.in_step(step, "StoppingCondition.MaxWaitTimeInSeconds", f"{wait} with a run of {runtime}")
    uri = step.job.get("CheckpointConfig", {}).get("S3Uri")
    if not _ends_in_slash(uri):
        yield Finding.in_step(step, "CheckpointConfig.S3Uri", f"{uri!r}, which does not end in /")


def _ends_in_slash(uri: object) -> bool:
    """Also where the pipeline joins the address from parts."""
    if isinstance(uri, dict) and "Std:Join" in uri:
        join = uri["Std:Join"]
        last = join["Values"][-1]
        # An empty last part leaves the separator at the end.
        return (last == "" and join["On"] == "/") or (isinstance(last, str) and last.endswith("/"))
    return isinstance(uri, str) and uri.endswith("/")


RULE = Rule(
    id="BV-Spot",
    why="A reclaimed job without checkpoints starts from nothing; a prefix without / also pulls its neighbours' files.",
    fix="Give MaxWaitTimeInSeconds >= MaxRuntimeInSeconds and a CheckpointConfig.S3Uri that ends in /.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html",
    find=_find,
)
