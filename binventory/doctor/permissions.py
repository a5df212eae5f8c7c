"""Whether the caller may do what the commands do, by IAM's policy simulator: no command is tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from binventory.core.aws import Aws
from binventory.core.bootstrap import Bootstrap
from binventory.core.names import Names


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


def rights(names: Names, bootstrap: Bootstrap, account: str, region: str) -> tuple[Right, ...]:
    """The permission without which each command fails first."""
    prefix = names.prefix

    def arn(service: str, resource: str) -> str:
        return f"arn:aws:{service}:{region}:{account}:{resource}"

    return (
        Right("deploy", "sts:AssumeRole", bootstrap.role_arn("deploy", account, region)),
        Right("train", "sagemaker:StartPipelineExecution", arn("sagemaker", f"pipeline/{prefix}")),
        Right("approve", "sagemaker:UpdateModelPackage", arn("sagemaker", f"model-package/{prefix}/1")),
        Right("endpoint", "lambda:InvokeFunction", arn("lambda", f"function:{names.reconcile_function}")),
        Right("count", "sagemaker:InvokeEndpoint", arn("sagemaker", f"endpoint/{prefix}")),
    )


def policy_source(caller: str) -> str | None:
    """Whose policies count: a session's role or the user itself; None for the account's root, which may do all.

    `arn:aws:sts::1:assumed-role/Role/session` acts with the policies of `arn:aws:iam::1:role/Role`.
    """
    if caller.endswith(":root"):
        return None
    if ":assumed-role/" in caller:
        head, _, rest = caller.partition(":assumed-role/")
        return f"{head.replace(':sts:', ':iam:')}:role/{rest.split('/')[0]}"
    return caller


def examine_rights(aws: Aws, names: Names, bootstrap: Bootstrap, caller: str, account: str) -> Iterator[PolicyDecision]:
    """Asks about each permission. Raises ClientError where the caller may not ask."""
    source = policy_source(caller)
    for right in rights(names, bootstrap, account, aws.region):
        if source is None:
            yield PolicyDecision(right, True)
            continue
        reply = aws.client("iam").simulate_principal_policy(
            PolicySourceArn=source, ActionNames=[right.action], ResourceArns=[right.resource]
        )
        yield PolicyDecision(right, reply["EvaluationResults"][0]["EvalDecision"] == "allowed")
