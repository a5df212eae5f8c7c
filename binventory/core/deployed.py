"""What is deployed: a stack, its outputs, the names in them, and the problem of a part that is absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_message
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names


def not_deployed(aws: Aws, names: Names, what: str) -> Problem:
    """What a command says that needs a part of a deployment which is not there, such as `stack binventory-dev-serving`.

    A shell often names another region than the settings, or still a local AWS: a deployment would not help there.
    """
    return Problem(
        f"There is no {what}",
        f"it is not deployed in {aws.place}, with these credentials",
        f"deploy first: {names.deploy}; or export AWS_REGION with the region that it is in",
        code=Exit.NOT_READY,
    )


def describe_stack(aws: Aws, name: str) -> dict[str, Any] | None:
    """A stack as CloudFormation describes it; None where there is none of this name."""
    try:
        return dict(aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0])
    except ClientError as error:
        if "does not exist" not in error_message(error):
            raise
        return None


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """The outputs of a described stack by name."""
    return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", ())}


def model_package_group(aws: Aws, names: Names) -> str:
    """Name of the environment's model package group.

    Where a destroy keeps the group (`storage.retain`), the next deployment has another one, under another name. Without
    a stack it is the environment's name: there is no such group, and the caller's request says so.
    """
    return outputs_of(describe_stack(aws, f"{names.prefix}-training") or {}).get("ModelPackageGroupName", names.prefix)
