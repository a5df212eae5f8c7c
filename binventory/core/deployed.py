"""Names that a deployed stack chose by itself: its outputs say them."""

from __future__ import annotations

from botocore.exceptions import ClientError

from binventory.core.aws import Aws
from binventory.core.names import Names


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
