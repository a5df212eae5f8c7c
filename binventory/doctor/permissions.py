"""Whether the caller may do what the commands do, by IAM's policy simulator: no command is tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from binventory.core.aws import DENIED, Aws, error_code
from binventory.core.bootstrap import Bootstrap
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names

_SSO = "AWSReservedSSO_"


@dataclass(frozen=True)
class Right:
    """The permission that a command needs."""

    command: str
    action: str
    resource: str


@dataclass(frozen=True)
class PolicyDecision:
    """IAM's decision about it."""

    right: Right
    allowed: bool


@dataclass(frozen=True)
class Deployment:
    """What the permissions are about."""

    names: Names
    bootstrap: Bootstrap
    model_package_group: str
    """Its name; before the first deployment, where it is not known yet, a pattern of it."""
    queued: bool
    """Whether photos reach the endpoint through its queue: serving mode `async`."""


def rights(deployment: Deployment, account: str, region: str) -> tuple[Right, ...]:
    """The permission without which each command fails first."""
    names, prefix = deployment.names, deployment.names.prefix
    count = "sagemaker:InvokeEndpointAsync" if deployment.queued else "sagemaker:InvokeEndpoint"
    package = f"model-package/{deployment.model_package_group}/1"

    def arn(service: str, resource: str) -> str:
        return f"arn:aws:{service}:{region}:{account}:{resource}"

    return (
        Right("deploy", "sts:AssumeRole", deployment.bootstrap.role_arn("deploy", account, region)),
        Right("train", "sagemaker:StartPipelineExecution", arn("sagemaker", f"pipeline/{prefix}")),
        Right("approve", "sagemaker:UpdateModelPackage", arn("sagemaker", package)),
        Right("endpoint", "lambda:InvokeFunction", arn("lambda", f"function:{names.reconcile_function}")),
        Right("count", count, arn("sagemaker", f"endpoint/{prefix}")),
    )


def policy_source(aws: Aws, caller: str) -> str | None:
    """Whose policies count: a session's role or the user itself; None for the account's root, which may do all.

    `arn:aws:sts::1:assumed-role/Role/session` acts with the policies of a role that IAM alone knows the path of: those
    of IAM Identity Center are `arn:aws:iam::1:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_...`.

    Raises:
        Problem: the caller may not look its role up, or IAM simulates no policies of such a caller.
    """
    if caller.endswith(":root"):
        return None
    head, _, rest = caller.partition(":assumed-role/")
    if rest:
        return _role_arn(aws, f"{head.replace(':sts:', ':iam:')}:role", rest.split("/")[0])
    if ":user/" in caller:
        return caller
    raise Problem(
        f"the permissions of {caller} are not known: it is neither a role nor a user",
        "IAM's simulator takes only these",
        "sign in with a role or a user, and run this again",
        code=Exit.NOT_READY,
    )


def _role_arn(aws: Aws, head: str, name: str) -> str:
    """The ARN of a role with its path."""
    try:
        return str(aws.client("iam").get_role(RoleName=name)["Role"]["Arn"])
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        role = f"{head}/aws-reserved/sso.amazonaws.com/*/{name}" if name.startswith(_SSO) else f"{head}/{name}"
        raise Problem(
            f"the path of the role {name} is not known: it may not call iam:GetRole",
            "a session's ARN does not have the path, and IAM's simulator needs it",
            f"ask for iam:GetRole and iam:SimulatePrincipalPolicy on {role}",
            code=Exit.NOT_READY,
        ) from error


def examine_rights(aws: Aws, deployment: Deployment, caller: str, account: str) -> Iterator[PolicyDecision]:
    """Asks about each permission.

    Raises:
        ClientError: the caller may not ask.
        Problem: see `policy_source`.
    """
    source = policy_source(aws, caller)
    for right in rights(deployment, account, aws.region):
        if source is None:
            yield PolicyDecision(right, True)
            continue
        reply = aws.client("iam").simulate_principal_policy(
            PolicySourceArn=source, ActionNames=[right.action], ResourceArns=[right.resource]
        )
        yield PolicyDecision(right, reply["EvaluationResults"][0]["EvalDecision"] == "allowed")
