"""The serving stack and its endpoint as they are now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code, error_message
from binventory.core.deployed import describe_stack, not_deployed, outputs_of
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from stacks.names import ENDPOINT_STATE


def is_absent(code: str, message: str) -> bool:
    """Whether an error of SageMaker says that there is no endpoint; other refusals have the same code."""
    words = ("not found", "could not find", "does not exist")
    return code in {"ValidationError", "ValidationException"} and any(word in message.lower() for word in words)


def no_endpoint(aws: Aws, names: Names) -> Problem:
    """What a command says that needs an environment's endpoint where there is none."""
    return Problem(
        f"There is no endpoint {names.prefix}",
        f"in {aws.place}, with these credentials, it is off, or no model has been approved yet",
        f"turn it on: {names.command('endpoint on')}; or approve a model: {names.command('approve')}",
        code=Exit.NOT_READY,
    )


@dataclass(frozen=True)
class EndpointState:
    """The serving stack and its endpoint as they are now."""

    name: str
    stack_status: str
    switched_on: bool
    package: str  # ARN of the model package the stack serves, "" before the first promotion
    status: str  # InService, Creating, ... ; "absent" where there is no endpoint
    instances: int

    @property
    def rests(self) -> bool:
        """Whether no update of the stack is under way."""
        return not self.stack_status.endswith("_IN_PROGRESS")

    @property
    def changing(self) -> bool:
        """Whether SageMaker is at work on the endpoint."""
        return self.status.endswith("ing") or self.status == "RollingBack"


@dataclass(frozen=True)
class StackEvent:
    """One line of a stack's history."""

    resource: str
    status: str
    reason: str


def _described(aws: Aws, names: Names) -> dict[str, Any]:
    """The serving stack's description, or a Problem that says how to deploy it."""
    stack = describe_stack(aws, names.serving_stack)
    if stack is None:
        raise not_deployed(aws, names, f"stack {names.serving_stack}")
    return stack


def template(aws: Aws, names: Names) -> dict[str, Any]:
    """The template of the serving stack. Raises Problem where it is not deployed."""
    _described(aws, names)
    body = aws.client("cloudformation").get_template(StackName=names.serving_stack)["TemplateBody"]
    return dict(json.loads(body) if isinstance(body, str) else body)


def outputs(aws: Aws, names: Names) -> dict[str, str]:
    """The serving stack's outputs by name."""
    return outputs_and_tags(aws, names)[0]


def outputs_and_tags(aws: Aws, names: Names) -> tuple[dict[str, str], dict[str, str]]:
    """The serving stack's outputs and tags; the tags are those of every resource that bills, as they were deployed."""
    found = _described(aws, names)
    return (
        outputs_of(found),
        {item["Key"]: item["Value"] for item in found.get("Tags", [])},
    )


def endpoint_state(aws: Aws, names: Names) -> EndpointState:
    """What the serving stack asks for, and what runs."""
    stack = _described(aws, names)
    parameters = {item["ParameterKey"]: item.get("ParameterValue", "") for item in stack.get("Parameters", [])}
    status, instances = "absent", 0
    try:
        endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=names.prefix)
        status = endpoint["EndpointStatus"]
        instances = sum(variant.get("CurrentInstanceCount", 0) for variant in endpoint.get("ProductionVariants", []))
    except ClientError as error:
        if not is_absent(error_code(error), error_message(error)):
            raise
    return EndpointState(
        name=names.prefix,
        stack_status=stack["StackStatus"],
        switched_on=parameters.get(ENDPOINT_STATE, "off") == "on",
        package=parameters.get("ModelPackageArn", ""),
        status=status,
        instances=instances,
    )


def stack_events(aws: Aws, stack: str, seen: set[str]) -> Iterator[StackEvent]:
    """The stack's events that are not in `seen`, oldest first; adds them to it."""
    events = aws.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    for raw in reversed(events):
        if raw["EventId"] not in seen:
            seen.add(raw["EventId"])
            yield StackEvent(
                raw.get("LogicalResourceId", ""),
                raw.get("ResourceStatus", ""),
                raw.get("ResourceStatusReason", ""),
            )
