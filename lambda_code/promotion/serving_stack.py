"""The serving stack and its endpoint: their state, the stack's updates, and the one act that changes what is served.

That act is an update with the stack's previous template and new parameters. So CloudFormation stays the owner of the
endpoint: a destroy leaves nothing, drift detection works, and a failed rollout is rolled back.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from functions.aws import client
from stacks.names import ENDPOINT_STATE, MODEL_PACKAGE_ARN, SERVING_RESOURCE_TYPES

_UPDATABLE = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)
_ROLLED_BACK = frozenset({"UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"})
_STACK = "AWS::CloudFormation::Stack"
CONFIGURATION = "AWS::SageMaker::EndpointConfig"
MODEL = "AWS::SageMaker::Model"
_SETTLED = frozenset({"InService", "Failed", "OutOfService", "UpdateRollbackFailed"})
_PROMOTION = re.compile(r"promote-(\d+)-")


class StackBusyError(Exception):
    """Another update of the stack is in progress; nothing was changed."""


@dataclass(frozen=True)
class Stack:
    """The stack at one moment."""

    id: str
    status: str
    created: datetime.datetime
    updated: datetime.datetime | None
    """When its latest update began; None before the first."""
    parameters: Mapping[str, str]

    @property
    def busy(self) -> bool:
        """Whether an update is under way."""
        return self.status.endswith("_IN_PROGRESS")

    @property
    def usable(self) -> bool:
        """Whether it accepts an update. A stack that is neither usable nor busy must be repaired by a person."""
        return self.status in _UPDATABLE

    @property
    def package(self) -> str:
        """ARN of its model package; empty before the first promotion."""
        return self.parameters.get(MODEL_PACKAGE_ARN, "")

    @property
    def state(self) -> str:
        """`on` or `off`."""
        return self.parameters.get(ENDPOINT_STATE, "off")

    @property
    def serves(self) -> bool:
        """Whether it should have an endpoint."""
        return bool(self.package) and self.state == "on"


@dataclass(frozen=True)
class StackUpdate:
    """One update of the stack, from its events."""

    token: str
    started: datetime.datetime
    ended: str
    """Final status; empty while it is in progress."""
    ended_by: str
    """Id of the event that ended it."""
    failure: str
    """The first failure, in CloudFormation's words."""

    @property
    def rolled_back(self) -> bool:
        """Whether CloudFormation undid it."""
        return self.ended in _ROLLED_BACK

    @property
    def promoted(self) -> int:
        """The version that it promotes; 0 for any other update."""
        match = _PROMOTION.match(self.token)
        return int(match[1]) if match else 0


@dataclass(frozen=True)
class ServingStack:
    """The stack, by name, or by id once it is deleted.

    Args:
        update_role: the role with which CloudFormation changes it; empty where nothing is changed.
    """

    name: str
    update_role: str = ""

    def look(self) -> Stack | None:
        """The stack as it is now; None where there is none."""
        try:
            found = client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        values = {entry["ParameterKey"]: entry["ParameterValue"] for entry in found.get("Parameters", [])}
        updated = found.get("LastUpdatedTime")
        return Stack(found["StackId"], found["StackStatus"], found["CreationTime"], updated, values)

    def change(self, wanted: Mapping[str, str], *, promotes: int = 0) -> bool:
        """Starts an update with new values of parameters; False where CloudFormation finds nothing to update.

        Args:
            promotes: the version that the update promotes, for `StackUpdate.promoted`; 0 for none.

        Raises:
            StackBusyError: another update is in progress; of two simultaneous requests CloudFormation accepts one.
        """
        stack = self.look()
        keys = sorted(stack.parameters) if stack else []
        unknown = sorted(set(wanted) - set(keys))
        if unknown:
            raise ValueError(f"stack {self.name} has no parameter {', '.join(unknown)}")
        purpose = f"promote-{promotes}" if promotes else "switch"
        try:
            client("cloudformation").update_stack(
                StackName=self.name,
                UsePreviousTemplate=True,
                Parameters=[_parameter(key, wanted) for key in keys],
                # This function's role may name no other types, so nothing else can be brought into the stack.
                ResourceTypes=list(SERVING_RESOURCE_TYPES),
                # Nor may it leave the role to CloudFormation, which would take the one that deployed the stack.
                RoleARN=self.update_role,
                ClientRequestToken=f"{purpose}-{uuid.uuid4().hex}",
            )
        except ClientError as error:
            # For both, CloudFormation has a message but no error code.
            if "No updates are to be performed" in str(error):
                return False
            if re.search(r"_IN_PROGRESS state and can ?not be updated", str(error)):
                raise StackBusyError(str(error)) from error
            raise
        return True

    def updates(self) -> Iterator[StackUpdate]:
        """The stack's updates of the last 90 days, for which CloudFormation keeps events; the latest first."""
        ended = ended_by = failure = ""
        for event in self._events():
            status = event["ResourceStatus"]
            if event["ResourceType"] == _STACK and event["PhysicalResourceId"] == event["StackId"]:
                if status == "UPDATE_IN_PROGRESS":
                    token = event.get("ClientRequestToken", "")
                    failure = failure or "CloudFormation gives no reason"
                    yield StackUpdate(token, event["Timestamp"], ended, ended_by, failure)
                    ended = ended_by = failure = ""
                elif not ended and not status.endswith("_IN_PROGRESS"):
                    ended, ended_by = status, event["EventId"]
            elif status in {"CREATE_FAILED", "UPDATE_FAILED"} and event.get("ResourceStatusReason"):
                failure = f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"

    def configuration(self) -> str:
        """Name, in small letters, of the stack's endpoint configuration; empty without one."""
        names = [name for kind, name in self._resources() if kind == CONFIGURATION]
        return names[0] if names else ""

    def replaced(self) -> dict[str, set[str]]:
        """Names, in small letters, of models and configurations that the stack had and no longer has, by resource type.

        Those that CloudFormation has deleted are included.
        """
        held = set(self._resources())
        found: dict[str, set[str]] = {MODEL: set(), CONFIGURATION: set()}
        for event in self._events():
            kind, name = event["ResourceType"], _short(event.get("PhysicalResourceId", ""))
            if kind in found and name and (kind, name) not in held:
                found[kind].add(name)
        return found

    def _events(self) -> Iterator[dict[str, Any]]:
        pages = client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=self.name)
        for page in pages:
            yield from page["StackEvents"]

    def _resources(self) -> list[tuple[str, str]]:
        pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        return [
            (resource["ResourceType"], _short(resource.get("PhysicalResourceId", "")))
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceStatus"] != "DELETE_COMPLETE"
        ]


@dataclass(frozen=True)
class ServedEndpoint:
    """The endpoint as SageMaker runs it, at one moment."""

    name: str
    status: str
    configuration: str
    """Name of the endpoint configuration that answers requests."""
    failure: str
    modified: datetime.datetime

    @property
    def changing(self) -> bool:
        """Whether SageMaker is changing it, for example because autoscaling adds an instance."""
        return self.status not in _SETTLED


def find_endpoint(name: str) -> ServedEndpoint | None:
    """The endpoint; None where there is none."""
    try:
        found = client("sagemaker").describe_endpoint(EndpointName=name)
    except ClientError as error:
        if "Could not find" in str(error):
            return None
        raise
    return ServedEndpoint(
        name,
        found["EndpointStatus"],
        found.get("EndpointConfigName", ""),
        found.get("FailureReason", ""),
        found["LastModifiedTime"],
    )


def _short(identifier: str) -> str:
    """The name in an ARN, in small letters as SageMaker writes it there."""
    return identifier.rpartition("/")[2].lower()


def _parameter(key: str, wanted: Mapping[str, str]) -> dict[str, Any]:
    if key in wanted:
        return {"ParameterKey": key, "ParameterValue": wanted[key]}
    return {"ParameterKey": key, "UsePreviousValue": True}
