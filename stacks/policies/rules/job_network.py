"""Where jobs have a network, every one is in it, and what can do without it has none."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, Step
from stacks.policies.rule import Finding, Rule


def _find(assembly: Assembly) -> Iterator[Finding]:
    models = list(assembly.of_type("AWS::SageMaker::Model"))
    jobs = [step for step in assembly.jobs() if step.type != "Transform"]
    if not any(model.properties.get("VpcConfig") for model in models) and not any(map(_vpc, jobs)):
        return
    for model in models:
        if not model.properties.get("VpcConfig"):
            yield Finding(model, "VpcConfig", "absent")
    for step in jobs:
        if not _vpc(step):
            yield Finding.in_step(step, "VpcConfig", "absent")
        # A processing job asks AWS's APIs itself; a training job is brought everything it needs.
        if step.type in ("Training", "Tuning") and step.job.get("EnableNetworkIsolation") is not True:
            yield Finding.in_step(step, "EnableNetworkIsolation", repr(step.job.get("EnableNetworkIsolation")))


def _vpc(step: Step) -> object:
    return step.job.get("VpcConfig") or step.job.get("NetworkConfig", {}).get("VpcConfig")


RULE = Rule(
    id="BV-JobNetwork",
    why="A job outside the network, or not isolated in it, can carry photos past the endpoints' policies.",
    fix="Take the network's members from Surroundings in stacks/pipeline/surroundings.py.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html",
    find=_find,
)
