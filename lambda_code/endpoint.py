"""The endpoint's switch, as the guards use it, and what they tell people."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

import boto3

from serving_stack import ENDPOINT_STATE, MODEL_PACKAGE_ARN, ServingStack, StackBusyError


@dataclass(frozen=True)
class Report:
    """What a guard decided, as it is logged and returned."""

    outcome: str
    """`turned off`, `turned on`, `started`, `left` or `busy`."""
    reason: str

    def logged(self) -> dict[str, str]:
        """Prints the report as one line and gives it as the function's result."""
        record = asdict(self)
        print(json.dumps(record))
        return record


def serving_stack() -> ServingStack:
    """The stack that the function is about."""
    return ServingStack(boto3.client("cloudformation"), os.environ["SERVING_STACK"])


def is_on(stack: ServingStack) -> bool:
    """Whether the stack is told to have an endpoint; False where there is no stack."""
    parameters = stack.parameters()
    return bool(parameters.get(MODEL_PACKAGE_ARN)) and parameters.get(ENDPOINT_STATE) == "on"


def switch(stack: ServingStack, state: str, reason: str) -> Report:
    """Turns the endpoint `on` or `off`. A stack that is busy is left for the next time the guard runs."""
    try:
        stack.change({ENDPOINT_STATE: state}, patience_seconds=0)
    except StackBusyError as busy:
        return Report("busy", str(busy))
    return Report(f"turned {state}", reason)


def tell(subject: str, message: str) -> None:
    """Sends a message to the people who look after the environment."""
    boto3.client("sns").publish(TopicArn=os.environ["ALERTS_TOPIC"], Subject=subject[:100], Message=message)
