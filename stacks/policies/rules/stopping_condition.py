"""Every job ends by itself."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.jobs():
        if step.type != "Transform" and not step.job.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"):
            yield Finding.in_step(step, "StoppingCondition.MaxRuntimeInSeconds", "absent")


RULE = Rule(
    id="BV-StoppingCondition",
    why="A job that hangs bills for a day, which is SageMaker's default.",
    fix="Set StoppingCondition.MaxRuntimeInSeconds.",
    link="https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html",
    find=_find,
)
