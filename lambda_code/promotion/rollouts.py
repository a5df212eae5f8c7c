"""How rollouts ended: those that failed, an endpoint that is not as asked for, and what rollouts have replaced.

An update can end well in CloudFormation although SageMaker has put the old model back, and an update that was rolled
back leaves an endpoint in service. So both are looked for.

CloudFormation keeps the models and endpoint configurations that a rollout replaces (`UpdateReplacePolicy: Retain`):
when SageMaker undoes a rollout, the endpoint runs the old ones again, and they must still exist. They are deleted here
once nothing uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from functions.aws import client
from promotion.registry import Package
from promotion.serving_stack import CONFIGURATION, MODEL, ServedEndpoint, ServingStack, Stack, StackUpdate

_KINDS = {
    CONFIGURATION: ("endpoint_config", "EndpointConfig"),
    MODEL: ("model", "Model"),
}


@dataclass(frozen=True)
class Standing:
    """The endpoint compared with what its stack asks for."""

    difference: str
    """The difference, in words; empty without one."""
    serves: str
    """What answers requests, in words."""
    undone: str
    """Why SageMaker restored the old configuration although the update succeeded; empty where it did not."""


def standing(of: ServingStack, stack: Stack, found: ServedEndpoint | None) -> Standing:
    """Compares the endpoint with a stack that is not being updated."""
    wanted = of.configuration() if stack.serves else ""
    difference = _difference(stack, wanted, found)
    serves = f"the endpoint serves {stack.package}" if stack.serves else "serving is off and there is no endpoint"
    undone = ""
    if (
        difference
        and stack.serves
        and found
        and found.status == "InService"
        # Only a rollout that SageMaker undid restores a configuration that the stack has replaced.
        and found.configuration.lower() in of.replaced()[CONFIGURATION]
    ):
        undone = found.failure or f"SageMaker put configuration {found.configuration} back"
    return Standing(difference, difference or serves, undone)


def _difference(stack: Stack, wanted: str, found: ServedEndpoint | None) -> str:
    if not stack.serves:
        return f"the endpoint is {found.status} and bills although serving is off" if found else ""
    if found is None:
        return "there is no endpoint although serving is on"
    because = f" ({found.failure})" if found.failure else ""
    if found.status != "InService":
        return "" if found.changing else f"the endpoint is {found.status}{because}"
    if found.configuration.lower() != wanted:
        return (
            f"the endpoint serves configuration {found.configuration} instead of {wanted or 'none'}, "
            f"which holds {stack.package}{because}"
        )
    return ""


def failed_rollout(of: ServingStack, package: Package) -> StackUpdate | None:
    """The failed rollout of a package since its approval; None without one."""
    for update in of.updates():
        if update.started < package.approved_at:
            return None
        if update.promoted == package.version and update.rolled_back:
            return update
    return None


def delete_replaced(of: ServingStack, seen: Stack | None = None) -> int:
    """Deletes models and configurations that the stack had and no longer has; returns their number.

    Call it only while the endpoint serves what the stack asks for, or does not exist. A `cdk deploy` may begin an
    update meanwhile: the stack then no longer has what its endpoint runs and what a rollback needs, and nothing is
    deleted.

    Args:
        seen: the stack when it was compared; None for one that is deleted, to which nothing more happens.
    """
    sagemaker = client("sagemaker")
    replaced = of.replaced()
    if seen is not None and of.look() != seen:
        return 0
    return sum(_delete(sagemaker, kind, replaced[kind]) for kind in _KINDS if replaced[kind])


def _delete(sagemaker: Any, kind: str, replaced: set[str]) -> int:
    operation, member = _KINDS[kind]
    # The stack has names in small letters, SageMaker lists them as they are.
    pages = sagemaker.get_paginator(f"list_{operation}s").paginate()
    names = [item[f"{member}Name"] for page in pages for item in page[f"{member}s"]]
    there = [name for name in names if name.lower() in replaced]
    for name in there:
        try:
            getattr(sagemaker, f"delete_{operation}")(**{f"{member}Name": name})
        except ClientError as error:
            # A person may delete them, too.
            if "Could not find" not in str(error):
                raise
    return len(there)
