"""Tells people when the endpoint does not serve what its stack asks for: the handler of a Lambda function.

EventBridge calls it whenever an update of the serving stack has ended. An update can end well on paper while SageMaker
has put the old model back, and a rolled-back promotion looks like an endpoint in service, so neither is left to be
noticed by chance.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError

from endpoint import Report, tell
from serving_stack import ENDPOINT_STATE, MODEL_PACKAGE_ARN

_CONFIGURATION = "AWS::SageMaker::EndpointConfig"
_ROLLED_BACK = frozenset({"UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"})


@dataclass(frozen=True)
class Asked:
    """What the stack asks for; `configuration` is the endpoint configuration's name, None where serving is off."""

    package: str
    configuration: str | None


@dataclass(frozen=True)
class Found:
    """The endpoint as SageMaker describes it."""

    status: str
    configuration: str
    reason: str


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Looks at the stack as it is now: the event may be late, and another update may have begun."""
    stack, endpoint = os.environ["SERVING_STACK"], os.environ["ENDPOINT"]
    cloudformation = boto3.client("cloudformation")
    description = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    status = description["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        return Report("left", f"stack {stack} is {status}: the end of that update is looked at").logged()
    asked = _asked(cloudformation, description)
    difference = _difference(asked, _found(endpoint))
    if status in _ROLLED_BACK:
        report = Report("rolled back", f"{_first_failure(cloudformation, stack)}; {difference or _serves(asked)}")
        cure = "continue its rollback in CloudFormation" if status.endswith("FAILED") else "approve a better package"
        tell(
            f"{endpoint}: promotion rolled back",
            f"The update of stack {stack} failed: {report.reason}.\n\n"
            f"Next: {cure}, or see `binventory endpoint status`.",
        )
        return report.logged()
    if difference:
        tell(
            f"{endpoint}: not what was asked for",
            f"Stack {stack} is {status}, but {difference}.\n\n"
            "Next: `binventory endpoint off`, then `binventory endpoint on`, which makes the endpoint anew.",
        )
        return Report("differs", difference).logged()
    return Report("as asked", _serves(asked)).logged()


def _asked(cloudformation: Any, stack: dict[str, Any]) -> Asked:
    parameters = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])}
    package = parameters.get(MODEL_PACKAGE_ARN, "")
    if not package or parameters.get(ENDPOINT_STATE) != "on":
        return Asked(package, None)
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack["StackName"])
    names = [
        resource["PhysicalResourceId"].rpartition("/")[2]
        for page in pages
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == _CONFIGURATION and resource["ResourceStatus"] != "DELETE_COMPLETE"
    ]
    return Asked(package, names[0] if names else "none")


def _found(endpoint: str) -> Found | None:
    try:
        description = boto3.client("sagemaker").describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in str(error):
            return None
        raise
    return Found(
        description["EndpointStatus"], description.get("EndpointConfigName", ""), description.get("FailureReason", "")
    )


def _difference(asked: Asked, found: Found | None) -> str:
    """In words, what is not as it was asked for; empty where everything is."""
    if asked.configuration is None:
        return "" if found is None else f"the endpoint is {found.status} and bills although serving is off"
    if found is None:
        return "there is no endpoint although serving is on"
    because = f" ({found.reason})" if found.reason else ""
    if found.status != "InService":
        return f"the endpoint is {found.status}{because}"
    # CloudFormation knows the configuration by its ARN, in which SageMaker writes the name in small letters.
    if found.configuration.lower() != asked.configuration.lower():
        return (
            f"the endpoint serves configuration {found.configuration} instead of {asked.configuration}, "
            f"which holds {asked.package}{because}"
        )
    return ""


def _serves(asked: Asked) -> str:
    return f"the endpoint serves {asked.package}" if asked.configuration else "serving is off and there is no endpoint"


def _first_failure(cloudformation: Any, stack: str) -> str:
    """What made the latest update of the stack fail, as CloudFormation says it."""
    reason = "CloudFormation gives no reason"
    for event in cloudformation.describe_stack_events(StackName=stack)["StackEvents"]:  # the latest first
        if event["ResourceStatus"] == "UPDATE_IN_PROGRESS" and event["PhysicalResourceId"] == event["StackId"]:
            break
        if event["ResourceStatus"] in {"CREATE_FAILED", "UPDATE_FAILED"} and event.get("ResourceStatusReason"):
            reason = f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
    return reason
