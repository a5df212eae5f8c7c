"""What is deployed: names that a stack chose by itself, and the problem of a part that is absent."""

from __future__ import annotations

from botocore.exceptions import ClientError

from binventory.core.aws import Aws
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


def model_package_group(aws: Aws, names: Names) -> str:
    """Name of the environment's model package group.

    Where a destroy keeps the group (`storage.retain`), the next deployment has another one, under another name. Without
    a stack it is the environment's name: there is no such group, and the caller's request says so.
    """
    try:
        stack = aws.client("cloudformation").describe_stacks(StackName=f"{names.prefix}-training")["Stacks"][0]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        return names.prefix
    outputs: dict[str, str] = {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
    return outputs.get("ModelPackageGroupName", names.prefix)
