"""The one act by which what is served changes: the serving stack is updated with its own template and new parameters.

Promotion, the idle guard, the budget guard and the command line all do this and nothing else, so that CloudFormation
stays the owner of the endpoint: a destroy leaves nothing, drift can be seen, and a failed rollout is rolled back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

MODEL_PACKAGE_ARN = "ModelPackageArn"
ENDPOINT_STATE = "EndpointState"
POLL_SECONDS = 10.0
# What an update may not start from, and what does not end by waiting.
_BROKEN = frozenset(
    {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"}
)


class Outcome(StrEnum):
    """What became of a change."""

    STARTED = "started"
    UNCHANGED = "unchanged"


class StackBusyError(Exception):
    """The stack is still working on an earlier change; trying again later helps."""


class StackUnusableError(Exception):
    """The stack is in a state that a person has to end."""


class CloudFormation(Protocol):
    """The part of the boto3 client that is used."""

    def describe_stacks(self, **arguments: Any) -> dict[str, Any]:
        """The stacks' state."""

    def update_stack(self, **arguments: Any) -> dict[str, Any]:
        """Starts an update."""


@dataclass(frozen=True)
class ServingStack:
    """The serving stack by its name."""

    client: CloudFormation
    name: str

    def change(self, wanted: Mapping[str, str], patience_seconds: float) -> Outcome:
        """Starts an update that gives the parameters the wanted values and leaves everything else as it is.

        Waits up to `patience_seconds` for an earlier update to end.

        Raises:
            StackBusyError: the earlier update took longer.
            StackUnusableError: the stack is in a state that no update leaves.
            ValueError: the stack has no such parameter.
        """
        parameters = self._settled_parameters(patience_seconds)
        unknown = sorted(set(wanted) - set(parameters))
        if unknown:
            raise ValueError(f"stack {self.name} has no parameter {', '.join(unknown)}")
        if all(parameters[key] == value for key, value in wanted.items()):
            return Outcome.UNCHANGED
        try:
            self.client.update_stack(
                StackName=self.name,
                UsePreviousTemplate=True,
                Parameters=[_parameter(key, wanted) for key in sorted(parameters)],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            )
        except Exception as error:
            # Two events can meet here; CloudFormation lets one of them win, and says so in words only.
            if "No updates are to be performed" in str(error):
                return Outcome.UNCHANGED
            if "can not be updated" in str(error) and "IN_PROGRESS" in str(error):
                raise StackBusyError(f"stack {self.name} is busy: {error}") from error
            raise
        return Outcome.STARTED

    def parameters(self) -> dict[str, str]:
        """The parameters' values; none where the stack does not exist."""
        try:
            return _values(self._describe())
        except Exception as error:
            if "does not exist" in str(error):
                return {}
            raise

    def _describe(self) -> dict[str, Any]:
        stack: dict[str, Any] = self.client.describe_stacks(StackName=self.name)["Stacks"][0]
        return stack

    def _settled_parameters(self, patience_seconds: float) -> dict[str, str]:
        deadline = time.monotonic() + patience_seconds
        while True:
            stack = self._describe()
            status = stack["StackStatus"]
            if status in _BROKEN:
                raise StackUnusableError(
                    f"stack {self.name} is {status}: repair it with `cdk deploy` or continue its rollback first"
                )
            if not status.endswith("_IN_PROGRESS"):
                return _values(stack)
            if time.monotonic() >= deadline:
                raise StackBusyError(f"stack {self.name} is still {status} after {patience_seconds:.0f} s")
            time.sleep(POLL_SECONDS)


def _values(stack: dict[str, Any]) -> dict[str, str]:
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])}


def _parameter(key: str, wanted: Mapping[str, str]) -> dict[str, Any]:
    if key in wanted:
        return {"ParameterKey": key, "ParameterValue": wanted[key]}
    return {"ParameterKey": key, "UsePreviousValue": True}
