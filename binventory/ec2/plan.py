"""The plan of a run: the shards of an earlier execution, and flags for the same three scripts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from binventory import executions
from binventory.assembly.definitions import Definition, defaults_of, step_named
from binventory.core.aws import Aws
from binventory.core.deployed import describe_stack, model_package_group, outputs_of
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from stacks.names import (
    ACCURACY_THRESHOLD,
    BACKBONE,
    EPOCHS,
    FINGERPRINT,
    INGEST,
    SEAL,
    SEED,
    SHARDS,
    STRATEGY,
    TUNE,
    VIEWS,
    WEIGHTS,
)
from stacks.vocabulary import SPLITS

# Pipeline parameter or tuned value -> flag, by step. A value that is not given keeps the script's default.
_FLAGS = {
    "embed": {STRATEGY: "strategy", BACKBONE: "backbone", WEIGHTS: "weights", VIEWS: "views", SEED: "seed"},
    "train": {
        STRATEGY: "strategy", BACKBONE: "backbone", WEIGHTS: "weights", EPOCHS: "epochs", SEED: "seed",
        "LearningRate": "lr", "BatchSize": "batch-size",
    },
    "evaluate": {ACCURACY_THRESHOLD: "accuracy-threshold", SEED: "seed"},
}  # fmt: skip
# Of the arguments of Evaluate, the settings fix this one; the others are folders, or what the plan says itself.
_FIXED_ARGUMENTS = ("precision",)
# Hyperparameters that a machine does not take: where SageMaker puts the weights, and what tracks its jobs.
_OF_JOBS = frozenset({"weights", "mlflow"})
# Tuned values that --set may replace, by their flags.
_TUNED = {"lr": "LearningRate", "batch-size": "BatchSize"}
KNOWN = tuple(sorted({name for flags in _FLAGS.values() for name in flags}))


@dataclass(frozen=True)
class Place:
    """From the stacks' outputs: where runs are written, and from what machines are started."""

    data_bucket: str
    model_bucket: str
    launch_template: str
    subnet_ids: tuple[str, ...]
    security_group: str
    instance_type: str
    max_minutes: int
    volume_gb: int

    def results(self, run: str) -> str:
        """Prefix of a run's plan, status and log, without a slash at its end."""
        return f"s3://{self.data_bucket}/executions/{run}"

    def models(self, run: str) -> str:
        """Prefix of a run's models and evaluation, without a slash at its end."""
        return f"s3://{self.model_bucket}/executions/{run}"


def place(aws: Aws, names: Names) -> Place:
    """Reads the stacks' outputs. Raises Problem where one of them is not deployed."""
    storage, ec2 = (_outputs(aws, names, f"{names.prefix}-{stack}") for stack in ("storage", "ec2"))
    return Place(
        data_bucket=storage["DataBucketName"],
        model_bucket=storage["ModelBucketName"],
        launch_template=ec2["LaunchTemplateName"],
        subnet_ids=tuple(ec2["SubnetIds"].split(",")),
        security_group=ec2["SecurityGroupId"],
        instance_type=ec2["InstanceType"],
        max_minutes=int(ec2["MaxRuntimeMinutes"]),
        volume_gb=int(ec2["VolumeGb"]),
    )


def _outputs(aws: Aws, names: Names, stack: str) -> dict[str, str]:
    found = describe_stack(aws, stack)
    if found is None:
        optional = stack.endswith("-ec2")
        raise Problem(
            f"The stack {stack} is not deployed",
            "machines are started from it, and it is off unless settings ask for it"
            if optional
            else f"it is not in {aws.place}, with these credentials",
            f"{'set ec2.enabled in settings/, then' if optional else 'deploy first'}: {names.deploy}",
            code=Exit.NOT_READY,
        )
    return outputs_of(found)


def new_run() -> str:
    """A name for a run, sorted by time."""
    return f"ec2-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def make(aws: Aws, names: Names, where: Place, run: str, given: Mapping[str, str | int | float]) -> dict[str, Any]:
    """The plan of a run on the shards of the newest execution that has ingested, with its best trial's values.

    Raises:
        Problem: a value has a name that no script here takes, or nothing has been ingested.
    """
    unknown = sorted(set(given) - set(KNOWN))
    if unknown:
        raise Problem(
            f"--set {unknown[0]} has no effect on EC2",
            f"a machine takes {', '.join(KNOWN)}: it embeds, trains once and evaluates",
            f"leave it out, or train with the pipeline: {names.command('train')}",
            code=Exit.USAGE,
        )
    execution = _ingested(aws, names)
    definition = executions.definition(aws, names)
    values = {**defaults_of(definition), **executions.parameters_of(aws, execution.arn)}
    tuned = _tuned(aws, execution)
    values |= {name: tuned.pop(flag) for flag, name in _TUNED.items() if flag in tuned}
    values |= given
    sealed = execution.step(SEAL)
    # An execution of an earlier version has no such step.
    held = {"sealed": sealed.outputs[SHARDS]} if sealed and SHARDS in sealed.outputs else {}
    return {
        "run": run,
        "execution": execution.arn,
        "shards": _shards(aws, execution),
        "checkpoints": f"s3://{where.data_bucket}/checkpoints/{run}/",
        "models": f"{where.models(run)}/",
        "flags": {
            step: {flag: str(values[name]) for name, flag in flags.items() if values.get(name) is not None}
            | fixed_flags(definition, step)
            | (tuned if step == "train" else {})
            | held
            | (
                {"endpoint": names.prefix, "model-package-group": model_package_group(aws, names)}
                if step == "evaluate"
                else {}
            )
            for step, flags in _FLAGS.items()
        },
    }


def values_of(aws: Aws, definition: Definition, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's parameters as a run has them: those of the execution whose shards it reads, and its own flags."""
    return {
        **defaults_of(definition),
        **executions.parameters_of(aws, plan["execution"]),
        **{
            name: plan["flags"][step][flag]
            for step, flags in _FLAGS.items()
            for name, flag in flags.items()
            if flag in plan["flags"][step]
        },
    }


def photos_of(aws: Aws, plan: Mapping[str, Any]) -> int | None:
    """Photos that the execution has listed whose shards a run reads; None where it has listed none."""
    listed = executions.look(aws, plan["execution"]).step(FINGERPRINT)
    return int(listed.outputs.get("Photos", 0)) or None if listed else None


def fixed_flags(definition: Definition, step: str) -> dict[str, str]:
    """The flags of a step that are settings and no parameters, so that a machine computes as the pipeline does.

    In the definition they are plain values; what an execution decides is an expression there.
    """
    arguments = (step_named(definition, step.capitalize()) or {}).get("Arguments", {})
    words = arguments.get("AppSpecification", {}).get("ContainerArguments", [])
    pairs = ((str(name).removeprefix("--"), value) for name, value in zip(words[::2], words[1::2], strict=False))
    flags = {name: value for name, value in pairs if name in _FIXED_ARGUMENTS}
    flags |= {
        name: value
        for name, value in arguments.get("HyperParameters", {}).items()
        if name not in _OF_JOBS and not name.startswith("sagemaker_")
    }
    return {name: value for name, value in flags.items() if isinstance(value, str)}


def _ingested(aws: Aws, names: Names) -> executions.Execution:
    pages = aws.client("sagemaker").get_paginator("list_pipeline_executions")
    for page in pages.paginate(PipelineName=names.prefix, SortBy="CreationTime", SortOrder="Descending"):
        for raw in page["PipelineExecutionSummaries"]:
            execution = executions.look(aws, raw["PipelineExecutionArn"])
            ingest = execution.step(INGEST)
            if ingest is not None and ingest.status == "Succeeded":
                return execution
    raise Problem(
        "There are no shards to train on",
        f"no execution of the pipeline {names.prefix} has ingested photos",
        f"run the pipeline once: {names.command('train')}",
        code=Exit.NOT_READY,
    )


def _shards(aws: Aws, execution: executions.Execution) -> dict[str, str]:
    ingest = execution.step(INGEST)
    assert ingest is not None, "only executions that have ingested are read"
    job = aws.client("sagemaker").describe_processing_job(ProcessingJobName=ingest.job)
    outputs = {item["OutputName"]: item["S3Output"]["S3Uri"] for item in job["ProcessingOutputConfig"]["Outputs"]}
    return {split: outputs[split] for split in SPLITS}


def _tuned(aws: Aws, execution: executions.Execution) -> dict[str, str]:
    """The best trial's values by their flags; empty where the execution has not tuned."""
    tune = execution.step(TUNE)
    if tune is None or tune.status != "Succeeded":
        return {}
    job = aws.client("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tune.job)
    best = job.get("BestTrainingJob", {}).get("TunedHyperParameters", {})
    return {name: value.strip('"') for name, value in best.items()}
