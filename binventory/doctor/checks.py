"""Checks what a deploy or a training needs: tools, credentials, stacks, permissions, quotas, and what bills."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from binventory.core.aws import Aws, connect
from binventory.core.bootstrap import Bootstrap
from binventory.core.deployed import describe_stack, model_package_group
from binventory.core.errors import Problem
from binventory.core.names import Names
from binventory.doctor.billing import NAME as TAG
from binventory.doctor.billing import budget_of_another_region, examine_tag
from binventory.doctor.check import Check, asked
from binventory.doctor.permissions import Deployment, examine_rights
from binventory.doctor.quotas import examine_quotas, needs
from binventory.doctor.serving import NAME as MODE
from binventory.doctor.serving import examine_mode
from binventory.doctor.tools import examine_tools

if TYPE_CHECKING:
    from stacks.settings import Settings

_BOOTSTRAP_VERSION = 21
_ALWAYS = ("storage", "money", "training", "serving", "monitoring")
"""Ends of the names of the stacks that all settings have."""


def examine(repository: Path, settings: Settings) -> Iterator[Check]:
    """Checks tools first, then the account that AWS_* variables name, for the environment of these settings."""
    names, bootstrap = Names(settings.environment, settings.project), Bootstrap.of(repository)
    yield from examine_tools(repository)
    try:
        aws = connect(os.environ)
    except Problem as problem:
        yield Check("credentials", "missing", problem.why, problem.cure)
        return
    yield _region(aws, settings)
    credentials = asked("credentials", partial(_identity, aws))
    yield credentials
    if credentials.state != "good":
        return
    yield asked("bootstrap", partial(_bootstrap, aws, bootstrap))
    optional = _optional_stacks(settings)
    for stack in (*_ALWAYS, *(name for name, wanted in optional.items() if wanted)):
        yield asked(f"stack {stack}", partial(_stack, aws, names, f"{names.prefix}-{stack}"))
    if aws.region == settings.region:  # else the other region may be the right one
        elsewhere = asked("other regions", partial(_other_regions, aws, names))
        if elsewhere.state != "good":
            yield elsewhere
    for stack in (name for name, wanted in optional.items() if not wanted):
        check = asked(f"stack {stack}", partial(_stack_of_before, aws, f"{names.prefix}-{stack}"))
        if check.state != "good":
            yield check
    yield asked("permissions", partial(_permissions, aws, settings, names, bootstrap))
    yield asked(TAG, partial(examine_tag, aws))
    yield asked(MODE, partial(examine_mode, aws, names))
    yield from examine_quotas(aws, needs(settings))


def _optional_stacks(settings: Settings) -> dict[str, bool]:
    """Ends of the names of the stacks that not all settings have, and whether these do."""
    return {
        "network": settings.network.mode == "create",
        "ec2": settings.ec2.enabled,
        "github": settings.github.repository != "none",
    }


def _region(aws: Aws, settings: Settings) -> Check:
    """The stacks are in the region of the settings; the commands look in that of the shell."""
    found = aws.region + (f" at {aws.endpoint_url}" if aws.is_local else "")
    if aws.region == settings.region:
        return Check("region", "good", found)
    cure = f"export AWS_REGION={settings.region}, or change `region` in settings/{settings.environment}.yaml"
    return Check("region", "missing", f"{found}, but the settings deploy to {settings.region}", cure)


def _identity(aws: Aws) -> Check:
    identity = aws.client("sts").get_caller_identity()
    return Check("credentials", "good", f"account {identity['Account']}, {identity['Arn']}")


def _group(aws: Aws, settings: Settings, names: Names) -> str:
    """Name of the model package group: with `storage.retain` each deployment gives it another ending."""
    if not settings.storage.retain:
        return names.prefix
    found = model_package_group(aws, names)
    return f"{names.prefix}-*" if found == names.prefix else found


def _permissions(aws: Aws, settings: Settings, names: Names, bootstrap: Bootstrap) -> Check:
    identity = aws.client("sts").get_caller_identity()
    deployment = Deployment(names, bootstrap, _group(aws, settings, names), settings.serving.mode == "async")
    answers = list(examine_rights(aws, deployment, identity["Arn"], identity["Account"]))
    denied = [answer.right for answer in answers if not answer.allowed]
    if not denied:
        return Check("permissions", "good", "may " + ", ".join(answer.right.command for answer in answers))
    found = "may not " + ", ".join(right.command for right in denied)
    cure = "if you need to do this, ask for: " + ", ".join(f"{right.action} on {right.resource}" for right in denied)
    # Not everyone needs every permission, so this is information, not a failure.
    return Check("permissions", "unknown", found, cure)


def _bootstrap(aws: Aws, bootstrap: Bootstrap) -> Check:
    ssm = aws.client("ssm")
    try:
        version = int(ssm.get_parameter(Name=bootstrap.version_parameter)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return Check("bootstrap", "missing", "this account and region", f"run: {bootstrap.command}")
    if version < _BOOTSTRAP_VERSION:
        return Check("bootstrap", "missing", f"version {version} is too old", f"run again: {bootstrap.command}")
    return Check("bootstrap", "good", f"version {version}")


def _stack(aws: Aws, names: Names, name: str) -> Check:
    label = f"stack {name.rsplit('-', 1)[-1]}"
    described = describe_stack(aws, name)
    if described is None:
        return Check(label, "missing", f"{name} is not deployed", f"run: {names.deploy}")
    status: str = described["StackStatus"]
    if status.endswith("_COMPLETE") and "ROLLBACK" not in status:
        return Check(label, "good", f"{name} {status}")
    return Check(label, "missing", f"{name} {status}", f"aws cloudformation describe-stack-events --stack-name {name}")


def _other_regions(aws: Aws, names: Names) -> Check:
    """An environment has one region: its budget and GitHub's roles have names that an account gives once."""
    label = "other regions"
    if describe_stack(aws, f"{names.prefix}-money") is not None:
        return Check(label, "good", f"{names.prefix} is deployed to {aws.region}")
    budget = budget_of_another_region(aws, names)
    if not budget:
        return Check(label, "good", f"the account has no budget of {names.prefix}")
    found = (
        f"the account has the budget {budget} of {names.prefix}, which is not deployed to {aws.region}: a deploy fails"
    )
    cure = (
        "destroy the environment in its other region first, or delete what it left (binventory leftovers), or choose "
        "another `project` in the settings"
    )
    return Check(label, "missing", found, cure)


def _stack_of_before(aws: Aws, name: str) -> Check:
    """A stack that earlier settings had. `cdk deploy --all` and `cdk destroy --all` leave it as it is, and it bills."""
    label = f"stack {name.rsplit('-', 1)[-1]}"
    described = describe_stack(aws, name)
    if described is None:
        return Check(label, "good", f"{name} is not deployed")
    delete = f"aws cloudformation delete-stack --stack-name {name}"
    if described.get("EnableTerminationProtection"):
        protection = "aws cloudformation update-termination-protection --no-enable-termination-protection"
        delete = f"{protection} --stack-name {name} && {delete}"
    found = f"{name} is deployed, but the settings no longer have it: the CDK neither updates nor destroys it"
    return Check(label, "unknown", found, f"once the other stacks are deployed without it: {delete}")
