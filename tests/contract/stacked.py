"""A stack that tests create, update and delete by CloudFormation's API."""

from __future__ import annotations

import json
import time
from typing import Any

from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory

Template = dict[str, Any]


class Stack:
    """A stack and its events."""

    def __init__(self, client: ClientFactory, name: str) -> None:
        self._cloudformation = client("cloudformation")
        self._name = name

    def create(self, template: Template, **parameters: str) -> str:
        """Create it; returns the status it ends in."""
        return self._run(self._cloudformation.create_stack, template, parameters)

    def update(self, template: Template, **parameters: str) -> str:
        """Update it; returns the status it ends in."""
        return self._run(self._cloudformation.update_stack, template, parameters)

    def delete(self) -> None:
        """Delete it and wait for the end."""
        self._cloudformation.delete_stack(StackName=self._name)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                status = self._settled()
            except ClientError:
                return
            assert status == "DELETE_COMPLETE", self.reasons()
            return

    def outputs(self) -> dict[str, str]:
        """Its outputs."""
        (stack,) = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"]
        return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}

    def reasons(self) -> str:
        """Everything its events complain about."""
        events = self._cloudformation.describe_stack_events(StackName=self._name)["StackEvents"]
        return "; ".join(event["ResourceStatusReason"] for event in events if "FAILED" in event["ResourceStatus"])

    def _run(self, operation: Any, template: Template, parameters: dict[str, str]) -> str:
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
        operation(StackName=self._name, TemplateBody=json.dumps(template), Parameters=given, Capabilities=capabilities)
        return self._settled()

    def _settled(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            (stack,) = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"]
            status: str = stack["StackStatus"]
            if not status.endswith("IN_PROGRESS"):
                return status
            time.sleep(0.05)
        raise AssertionError(f"{self._name} is still {status}")
