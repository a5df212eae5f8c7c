"""Checks what a deploy or a training needs: tools, credentials, stacks, permissions, quotas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from binventory.core.aws import Aws, connect, error_message
from binventory.core.errors import Problem
from binventory.core.names import Names
from binventory.doctor.permissions import examine_rights

State = Literal["good", "missing", "unknown"]
_BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
_BOOTSTRAP_VERSION = 21


@dataclass(frozen=True)
class Check:
    """One check and its result."""

    name: str
    state: State
    found: str
    cure: str = ""


def examine(repository: Path, names: Names, instances: dict[str, set[str]]) -> Iterator[Check]:
    """Checks tools first, then the account that AWS_* variables name.

    `instances` holds the instance types that are needed for each use of Service Quotas, such as `endpoint usage`.
    """
    yield _python()
    yield _node()
    yield _cdk(repository)
    yield _docker()
    try:
        aws = connect(os.environ)
    except Problem as problem:
        yield Check("credentials", "missing", problem.why, problem.cure)
        return
    yield Check("region", "good", str(aws.session.region_name) + (f" at {aws.endpoint_url}" if aws.is_local else ""))
    credentials = _asked("credentials", partial(_identity, aws))
    yield credentials
    if credentials.state != "good":
        return
    yield _asked("bootstrap", partial(_bootstrap, aws))
    for stack in ("storage", "money", "training", "serving", "monitoring"):
        yield _asked(f"stack {stack}", partial(_stack, aws, f"{names.prefix}-{stack}"))
    yield _asked("permissions", partial(_permissions, aws, names))
    for use, types in instances.items():
        for instance in sorted(types):
            name = f"{instance} for {use}"
            yield _asked(name, partial(_quota, aws, name))


def _asked(name: str, ask: Callable[[], Check]) -> Check:
    """A check that calls AWS; its state is unknown where the caller may not ask."""
    try:
        return ask()
    except ClientError as error:
        return Check(name, "unknown", error_message(error))
    except BotoCoreError as error:
        return Check(name, "missing", str(error), "check region, credentials and network")


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", "good", version)


def _node() -> Check:
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    node = shutil.which("node", path=tools)
    if node is None:
        return Check("node", "missing", "not found", "run: make setup")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return Check("node", "good", said)


def _cdk(repository: Path) -> Check:
    wanted = json.loads((repository / "package.json").read_text())["devDependencies"]["aws-cdk"]
    installed = repository / "node_modules" / "aws-cdk" / "package.json"
    found = json.loads(installed.read_text())["version"] if installed.is_file() else "not installed"
    if found == wanted:
        return Check("cdk", "good", found)
    return Check("cdk", "missing", f"{found}, wanted {wanted}", "run: make setup")


def _docker() -> Check:
    """Docker, or the program that CDK_DOCKER names; only Docker has a daemon that may be down."""
    replacement = os.environ.get("CDK_DOCKER")
    command = shutil.which(replacement or "docker")
    if command is None:
        cure = "install Docker to deploy the serving image to AWS; a rehearsal does not need it"
        return Check("docker", "missing", f"{replacement or 'docker'} not found", cure)
    if replacement is None:
        info = subprocess.run([command, "info"], capture_output=True, text=True, check=False, timeout=30)
        if info.returncode != 0:
            return Check(
                "docker", "missing", "its daemon does not answer", "start Docker; a rehearsal does not need it"
            )
    return Check("docker", "good", command)


def _identity(aws: Aws) -> Check:
    identity = aws.client("sts").get_caller_identity()
    return Check("credentials", "good", f"account {identity['Account']}, {identity['Arn']}")


def _permissions(aws: Aws, names: Names) -> Check:
    identity = aws.client("sts").get_caller_identity()
    answers = list(examine_rights(aws, names, identity["Arn"], identity["Account"]))
    denied = [answer.right for answer in answers if not answer.allowed]
    if not denied:
        return Check("permissions", "good", "may " + ", ".join(answer.right.command for answer in answers))
    found = "may not " + ", ".join(right.command for right in denied)
    cure = "if you need to do this, ask for: " + ", ".join(f"{right.action} on {right.resource}" for right in denied)
    # Not everyone needs every permission, so this is information, not a failure.
    return Check("permissions", "unknown", found, cure)


def _bootstrap(aws: Aws) -> Check:
    ssm = aws.client("ssm")
    try:
        version = int(ssm.get_parameter(Name=_BOOTSTRAP_PARAMETER)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return Check("bootstrap", "missing", "this account and region", "run: npx cdk bootstrap")
    if version < _BOOTSTRAP_VERSION:
        return Check("bootstrap", "missing", f"version {version} is too old", "run again: npx cdk bootstrap")
    return Check("bootstrap", "good", f"version {version}")


def _stack(aws: Aws, name: str) -> Check:
    label = f"stack {name.rsplit('-', 1)[-1]}"
    try:
        status = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" not in error_message(error):
            raise
        return Check(label, "missing", f"{name} is not deployed", "run: npx cdk deploy --all")
    if status.endswith("_COMPLETE") and "ROLLBACK" not in status:
        return Check(label, "good", f"{name} {status}")
    return Check(label, "missing", f"{name} {status}", f"aws cloudformation describe-stack-events --stack-name {name}")


def _quota(aws: Aws, name: str) -> Check:
    pages = aws.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    values = [quota["Value"] for page in pages for quota in page["Quotas"] if quota["QuotaName"] == name]
    if not values:
        return Check(name, "unknown", "Service Quotas does not list it")
    if values[0] >= 1:
        return Check(name, "good", f"quota {values[0]:.0f}")
    return Check(name, "missing", "quota 0", "ask for more in the Service Quotas console, service SageMaker")
