"""The jobs inside the pipeline definition: limits, spot capacity, network."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.policies.assembly import Assembly, SynthesizedStep
from stacks.policies.rule import Finding, Rule


def _stopping_condition(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.jobs():
        if step.type != "Transform" and not step.job.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"):
            yield Finding.in_step(step, "StoppingCondition.MaxRuntimeInSeconds", "absent")


STOPPING_CONDITION = Rule(
    id="BV-StoppingCondition",
    why="A job that hangs bills for a day, which is SageMaker's default.",
    fix="Set StoppingCondition.MaxRuntimeInSeconds.",
    link="https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html",
    find=_stopping_condition,
)


def _spot(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.jobs():
        if step.type in ("Training", "Tuning") and step.job.get("EnableManagedSpotTraining"):
            yield from _of_spot(step)


def _of_spot(step: SynthesizedStep) -> Iterator[Finding]:
    stopping = step.job.get("StoppingCondition", {})
    runtime, wait = stopping.get("MaxRuntimeInSeconds"), stopping.get("MaxWaitTimeInSeconds")
    if runtime is None or wait is None or wait < runtime:
        yield Finding.in_step(step, "StoppingCondition.MaxWaitTimeInSeconds", f"{wait} with a run of {runtime}")
    uri = step.job.get("CheckpointConfig", {}).get("S3Uri")
    if not _ends_in_slash(uri):
        yield Finding.in_step(step, "CheckpointConfig.S3Uri", f"{uri!r}, which does not end in /")


def _ends_in_slash(uri: object) -> bool:
    """Also of an address that the pipeline joins from parts."""
    if isinstance(uri, dict) and "Std:Join" in uri:
        join = uri["Std:Join"]
        last = join["Values"][-1]
        # An empty last part leaves the separator at the end.
        return (last == "" and join["On"] == "/") or (isinstance(last, str) and last.endswith("/"))
    return isinstance(uri, str) and uri.endswith("/")


SPOT = Rule(
    id="BV-Spot",
    why="A reclaimed job without checkpoints starts from nothing; a prefix without / also pulls its neighbours' files.",
    fix="Give MaxWaitTimeInSeconds >= MaxRuntimeInSeconds and a CheckpointConfig.S3Uri that ends in /.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html",
    find=_spot,
)


def _traffic_encryption(assembly: Assembly) -> Iterator[Finding]:
    for step in assembly.jobs():
        if step.type in ("Training", "Tuning") and step.instance_count != 1:
            value = step.job.get("EnableInterContainerTrafficEncryption")
            if value is not True:
                yield Finding.in_step(step, "EnableInterContainerTrafficEncryption", repr(value))


TRAFFIC_ENCRYPTION = Rule(
    id="BV-TrafficEncryption",
    why="Gradients between the machines of one job cross the network in the clear.",
    fix="Set EnableInterContainerTrafficEncryption to true wherever a job can have more than one instance.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/train-encrypt.html",
    find=_traffic_encryption,
)


def _job_network(assembly: Assembly) -> Iterator[Finding]:
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
        # A processing job calls AWS's APIs itself. SageMaker brings a training job everything it needs.
        if step.type in ("Training", "Tuning") and step.job.get("EnableNetworkIsolation") is not True:
            yield Finding.in_step(step, "EnableNetworkIsolation", repr(step.job.get("EnableNetworkIsolation")))


def _vpc(step: SynthesizedStep) -> object:
    return step.job.get("VpcConfig") or step.job.get("NetworkConfig", {}).get("VpcConfig")


JOB_NETWORK = Rule(
    id="BV-JobNetwork",
    why="A job outside the network, or not isolated in it, can carry photos past the endpoints' policies.",
    fix="Take the network's members from JobSecurity in stacks/pipeline/job_security.py.",
    link="https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html",
    find=_job_network,
)

RULES = (STOPPING_CONDITION, SPOT, TRAFFIC_ENCRYPTION, JOB_NETWORK)
