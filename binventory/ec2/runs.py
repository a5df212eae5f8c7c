"""Runs on EC2: start one, follow it through S3, explain an early end, register a good model."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from binventory import executions
from binventory.account.strays import ENDS_BY
from binventory.assembly.definitions import Definition, step_named
from binventory.core.aws import Aws, error_code, error_message
from binventory.core.contents import bucket_and_key
from binventory.core.deployed import model_package_group
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.core.objects import read_at
from binventory.ec2.plan import Place, place
from stacks.names import ARCHIVE, REGISTER
from stacks.vocabulary import ARCHIVE_DIGEST

STEPS = ("fetch", "embed", "train", "evaluate", "send")
# Another subnet is in another zone, which has other spot capacity and prices.
_TRY_ELSEWHERE = frozenset({"InsufficientInstanceCapacity", "SpotMaxPriceTooLow", "Unsupported"})
_QUOTA = frozenset({"MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"})
_BRAKE_MINUTES = 10  # after its limit; then the machine ends itself even if the script hangs
_LOG_LINES = 40
_LOOKS = 6
"""After so many a machine that was never listed is gone: EC2 lists a new one some seconds after it was started."""


@dataclass(frozen=True)
class Status:
    """A run at one moment, from the machine's status file and from EC2."""

    state: str  # starting | running | succeeded | failed | timed out | reclaimed | gone
    step: str
    reason: str

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.state not in ("starting", "running")


def write_plan(aws: Aws, where: Place, plan: Mapping[str, Any]) -> None:
    """Writes the plan to where the machine reads it."""
    _put(aws, f"{where.results(plan['run'])}/run.json", plan)


def read_plan(aws: Aws, names: Names, where: Place, run: str) -> dict[str, Any]:
    """The plan of an earlier run. Raises Problem where there is none."""
    found = _get(aws, f"{where.results(run)}/run.json")
    if found is None:
        raise Problem(
            f"There is no run {run}",
            f"there is nothing at {where.results(run)}/run.json; executions expire after a while",
            f"start a new one: {names.command('train --on ec2')}",
            code=Exit.USAGE,
        )
    return found


def start(aws: Aws, names: Names, where: Place, run: str) -> str:
    """Starts a machine on the run and returns its id.

    Raises:
        Problem: there is no spot capacity, or the account may run no further machine on spot.
    """
    _put(aws, f"{where.results(run)}/status.json", {"state": "starting", "step": "", "reason": ""})
    ends_by = datetime.now(UTC) + timedelta(minutes=where.max_minutes + _BRAKE_MINUTES)
    version, tags = _template(aws, where)
    tags |= {"Name": f"{names.prefix}-{run}", "run": run, ENDS_BY: ends_by.isoformat(timespec="seconds")}
    specification = [
        {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    ]
    again, refused = names.command(f"train --on ec2 --resume {run}"), ""
    for subnet in where.subnet_ids:
        try:
            started = aws.client("ec2").run_instances(
                LaunchTemplate={"LaunchTemplateName": where.launch_template, "Version": version},
                # Complete, because an interface in a request replaces the template's.
                NetworkInterfaces=[
                    {
                        "DeviceIndex": 0,
                        "SubnetId": subnet,
                        "Groups": [where.security_group],
                        "AssociatePublicIpAddress": True,
                        "DeleteOnTermination": True,
                    }
                ],
                MinCount=1,
                MaxCount=1,
                ClientToken=f"{run}-{subnet}-{int(time.time())}"[:64],
                TagSpecifications=specification,
            )
            return str(started["Instances"][0]["InstanceId"])
        except ClientError as error:
            if error_code(error) in _QUOTA:
                raise Problem(
                    "The account may start no further machine on spot",
                    error_message(error),
                    f"wait until another ends, or raise EC2's quota of Spot Instance Requests; then: {again}",
                    code=Exit.NOT_READY,
                ) from error
            if error_code(error) not in _TRY_ELSEWHERE:
                raise
            refused = error_message(error)
    raise Problem(
        f"No {where.instance_type} is available on spot",
        refused,
        f"try later, set another ec2.instance_type, or resume it: {again}",
    )


def _template(aws: Aws, where: Place) -> tuple[str, dict[str, str]]:
    """The newest version of the launch template, and the tags that it gives to instances.

    A request that adds tags repeats them: EC2's documentation does not say whether those of a request join those of the
    template or replace them, and the budget counts by one of these.
    """
    found = aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateName=where.launch_template, Versions=["$Latest"]
    )["LaunchTemplateVersions"][0]
    tags = {
        str(tag["Key"]): str(tag["Value"])
        for specification in found["LaunchTemplateData"].get("TagSpecifications", ())
        if specification["ResourceType"] == "instance"
        for tag in specification["Tags"]
    }
    return str(found["VersionNumber"]), tags


def machine_of(aws: Aws, run: str) -> str | None:
    """Id of the machine that works on a run; None without one."""
    filters = [
        {"Name": "tag:run", "Values": [run]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down"]},
    ]
    # EC2 filters page by page: one may be empty although the machine is on a later one.
    pages = aws.client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
    machines = (machine for page in pages for found in page["Reservations"] for machine in found["Instances"])
    return next((str(machine["InstanceId"]) for machine in machines), None)


def require(aws: Aws, names: Names, run: str) -> None:
    """Raises Problem for a run that nobody has started: a machine may work on another one, which was meant."""
    if machine_of(aws, run) is None:
        read_plan(aws, names, place(aws, names), run)


def stop(aws: Aws, names: Names, run: str) -> Iterator[str]:
    """Ends the machine that works on a run and yields what happens; returns when it no longer bills."""
    every = 0.3 if aws.is_local else 5.0
    unseen = 0
    while True:
        if (machine := machine_of(aws, run)) is not None:
            aws.client("ec2").terminate_instances(InstanceIds=[machine])
            unseen = _LOOKS
            yield f"{machine} is ending"
        elif unseen == _LOOKS or not _just_started(aws, names, run):
            break
        else:
            unseen += 1
            yield "it was started, and EC2 does not list its machine yet"
        time.sleep(every)
    yield "no machine works on it; its checkpoints are kept"


def _just_started(aws: Aws, names: Names, run: str) -> bool:
    """Whether a machine was started on a run and has not said anything yet; False without the stacks."""
    try:
        where = place(aws, names)
    except Problem:
        return False
    return (_get(aws, f"{where.results(run)}/status.json") or {}).get("state") == "starting"


def follow(aws: Aws, where: Place, run: str, *, every: float) -> Iterator[Status]:
    """Yields the run's status until it has ended and its machine is gone; the last one yielded is final."""
    unseen = 0
    while True:
        there = machine_of(aws, run) is not None
        # Read after the machine's state: the machine writes its last status before it ends.
        said = _get(aws, f"{where.results(run)}/status.json") or {}
        status = Status(said.get("state", "starting"), said.get("step", ""), said.get("reason", ""))
        unseen = _LOOKS if there else unseen + 1
        if not there and (status.state != "starting" or unseen > _LOOKS):
            yield status if status.ended else Status("gone", status.step, "the machine ended without a last word")
            return
        yield status
        time.sleep(every)


def explain(aws: Aws, names: Names, where: Place, run: str, status: Status) -> Problem:
    """Why a run did not succeed, with the end of its log."""
    again, anew = names.command(f"train --on ec2 --resume {run}"), names.command("train --on ec2")
    cure = {
        "failed": f"the end of its log is above; correct it and start again: {anew}",
        "timed out": f"raise ec2.max_runtime_minutes in settings/, deploy, and continue from its checkpoints: {again}",
    }.get(status.state, f"continue from its checkpoints: {again}")
    return Problem(
        f"The run {run} {status.state if status.state != 'gone' else 'broke off'}{_at(status.step)}",
        status.reason or "it gives no reason",
        cure,
        log=log_tail(aws, where, run),
    )


def _at(step: str) -> str:
    return f" at {step}" if step else ""


def log_tail(aws: Aws, where: Place, run: str) -> tuple[str, ...]:
    """The last lines of the run's log."""
    try:
        text = read_at(aws.client("s3"), f"{where.results(run)}/log.txt").decode(errors="replace")
    except ClientError as error:
        if error_code(error) not in ("NoSuchKey", "404"):
            raise
        return ()
    return tuple(text.splitlines()[-_LOG_LINES:])


def evaluation(aws: Aws, where: Place, run: str) -> dict[str, Any]:
    """The evaluation that evaluate.py wrote, with the gate's decision."""
    found = _get(aws, f"{where.models(run)}/evaluation/evaluation.json")
    if found is None:
        raise Problem(
            f"The run {run} has no evaluation",
            f"there is nothing at {where.models(run)}/evaluation/evaluation.json",
            f"read why in its log: aws s3 cp {where.results(run)}/log.txt -",
        )
    return found


def register(aws: Aws, names: Names, where: Place, plan: Mapping[str, Any]) -> str:
    """Registers the run's model as the pipeline would have, waiting for approval; returns the package's ARN."""
    arguments = _register_arguments(names, executions.definition(aws, names))
    run, models = str(plan["run"]), where.models(str(plan["run"]))
    container = arguments["InferenceSpecification"]["Containers"][0]
    container["ModelDataUrl"] = f"{models}/serving/model.tar.gz"
    measured = {"Statistics": {"ContentType": "application/json", "S3Uri": f"{models}/evaluation/evaluation.json"}}
    arguments |= {"ModelMetrics": {"ModelQuality": measured}, "DriftCheckBaselines": {"ModelQuality": measured}}
    arguments["CustomerMetadataProperties"] = {
        ARCHIVE: evaluation(aws, where, run)["binventory"]["lineage"][ARCHIVE_DIGEST],
        "backbone": plan["flags"]["embed"].get("backbone", ""),
        "pipeline_execution": plan["execution"],
        "shards": plan["shards"]["train"],
        "training_job": run,
        "weights": plan["flags"]["embed"].get("weights", ""),
    }
    return str(aws.client("sagemaker").create_model_package(**arguments)["ModelPackageArn"])


def registered(aws: Aws, names: Names, where: Place, run: str) -> str | None:
    """ARN of the run's package, if it has been registered already."""
    sagemaker = aws.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=model_package_group(aws, names)
    )
    for arn in (item["ModelPackageArn"] for page in pages for item in page["ModelPackageSummaryList"]):
        found = sagemaker.describe_model_package(ModelPackageName=arn)
        if found["InferenceSpecification"]["Containers"][0].get("ModelDataUrl", "").startswith(where.models(run)):
            return str(arn)
    return None


def _register_arguments(names: Names, definition: Definition) -> dict[str, Any]:
    """Arguments of the step that registers, copied."""
    step = step_named(definition, REGISTER)
    if step is None:
        raise Problem(
            "The model cannot be registered",
            "the pipeline's definition has no step for it",
            f"deploy it: {names.deploy}",
        )
    return copy.deepcopy(step["Arguments"])


def _get(aws: Aws, uri: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(read_at(aws.client("s3"), uri)))
    except ClientError as error:
        if error_code(error) not in ("NoSuchKey", "404"):
            raise
        return None


def _put(aws: Aws, uri: str, value: Mapping[str, Any]) -> None:
    bucket, key = bucket_and_key(uri)
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(value, indent=2, sort_keys=True).encode())
