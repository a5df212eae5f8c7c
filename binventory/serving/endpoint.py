"""What is served: the serving stack and its endpoint as they are, and counts by the endpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from binventory.client import CountError, FetchError, FetchPolicy, Queue, count_photo, count_queued
from binventory.core.aws import Aws, error_code, error_message
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names

_MISSING = "does not exist"
_FETCH_CURE = "photos are fetched by https from listed hosts only: --allow-host NAME lists one more"


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
class Answer:
    """What the endpoint says about one photo."""

    count: int
    probabilities: dict[int, float]
    expected_count: float
    milliseconds: float

    @property
    def confidence(self) -> float:
        """Probability of the count it names."""
        return self.probabilities.get(self.count, 0.0)


@dataclass(frozen=True)
class StackEvent:
    """One line of a stack's history."""

    id: str
    resource: str
    status: str
    reason: str


def latest_package(aws: Aws, names: Names, *, status: str = "PendingManualApproval") -> str:
    """ARN of the newest model package with this approval state."""
    try:
        reply = aws.client("sagemaker").list_model_packages(
            ModelPackageGroupName=names.prefix,
            ModelApprovalStatus=status,
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=1,
        )
        packages = reply["ModelPackageSummaryList"]
    except ClientError as error:
        if error_code(error) not in {"ResourceNotFound", "ValidationException"}:
            raise
        packages = []
    if not packages:
        raise Problem(
            f"No model package of {names.prefix} is {status}",
            "no pipeline execution has registered one that is",
            "train one: binventory train",
            code=Exit.NOT_READY,
        )
    return str(packages[0]["ModelPackageArn"])


def describe_stack(aws: Aws, stack: str) -> dict[str, Any]:
    """The stack's description, or a Problem that says how to deploy it."""
    try:
        stacks = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if _MISSING not in error_message(error):
            raise
        stacks = []
    if not stacks:
        raise Problem(
            f"There is no stack {stack}",
            "it is not deployed in this account and region",
            "deploy first: npx cdk deploy --all",
            code=Exit.NOT_READY,
        )
    return dict(stacks[0])


def template(aws: Aws, stack: str) -> dict[str, Any]:
    """The template of a stack that is deployed."""
    describe_stack(aws, stack)
    body = aws.client("cloudformation").get_template(StackName=stack)["TemplateBody"]
    return dict(json.loads(body) if isinstance(body, str) else body)


def outputs(aws: Aws, stack: str) -> dict[str, str]:
    """The stack's outputs by name."""
    return {item["OutputKey"]: item["OutputValue"] for item in describe_stack(aws, stack).get("Outputs", [])}


def endpoint_state(aws: Aws, names: Names) -> EndpointState:
    """What the serving stack says should run, and what runs."""
    stack = describe_stack(aws, names.serving_stack)
    parameters = {item["ParameterKey"]: item.get("ParameterValue", "") for item in stack.get("Parameters", [])}
    status, instances = "absent", 0
    try:
        endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=names.prefix)
        status = endpoint["EndpointStatus"]
        instances = sum(variant.get("CurrentInstanceCount", 0) for variant in endpoint.get("ProductionVariants", []))
    except ClientError as error:
        if error_code(error) != "ValidationException":
            raise
    return EndpointState(
        name=names.prefix,
        stack_status=stack["StackStatus"],
        switched_on=parameters.get("EndpointState", "off") == "on",
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
                raw["EventId"],
                raw.get("LogicalResourceId", ""),
                raw.get("ResourceStatus", ""),
                raw.get("ResourceStatusReason", ""),
            )


def find_queue(aws: Aws, names: Names) -> Queue | None:
    """How to ask the endpoint where it is asynchronous; None where it answers at once, or there is no stack."""
    try:
        uri = outputs(aws, names.serving_stack).get("AsyncInputUri")
    except Problem:
        return None  # the request itself will say what is missing
    if uri is None:
        return None
    return Queue(names.prefix, uri, aws.client("sagemaker-runtime"), aws.client("s3"))


def count(
    aws: Aws,
    names: Names,
    photo: bytes | Path | str,
    policy: FetchPolicy | None = None,
    queue: Queue | None = None,
) -> Answer:
    """Counts the items in a photo, given as its bytes, as a file, or as an https URL that `policy` lets through.

    queue: from `find_queue`; None: the endpoint answers at once.
    """
    began = time.perf_counter()
    runtime = aws.client("sagemaker-runtime")
    try:
        if queue is not None:
            found = count_queued(photo, queue, policy=policy)
        else:
            found = count_photo(photo, endpoint=names.prefix, runtime=runtime, policy=policy)
    except CountError as error:
        raise _not_counted(names, error) from error
    except FetchError as error:
        raise Problem(f"{photo!s} was not fetched", str(error), _FETCH_CURE, code=Exit.USAGE) from error
    except OSError as error:
        raise Problem(
            f"{photo!s} was not read", error.strerror or str(error), "check the name", code=Exit.USAGE
        ) from error
    return Answer(
        count=found.count,
        probabilities=dict(found.probabilities),
        expected_count=found.expected_count,
        milliseconds=(time.perf_counter() - began) * 1000,
    )


def _not_counted(names: Names, error: CountError) -> Problem:
    if error.reason in {"ValidationError", "ValidationException"}:
        return Problem(
            f"There is no endpoint {names.prefix}",
            "it is off, or no model has been approved yet",
            "turn it on: binventory endpoint on; or approve a model: binventory approve",
            code=Exit.NOT_READY,
        )
    return Problem("The photo was not counted", f"{error} ({error.reason})", "see: binventory endpoint status")
