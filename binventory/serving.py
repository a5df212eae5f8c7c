"""What is served: approve a model, turn the endpoint on and off through its stack, and count photos with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from binventory.aws import Aws, error_code, error_message
from binventory.client import CountError, FetchError, FetchPolicy, Queue, count_photo, count_queued
from binventory.cost import lineage
from binventory.errors import Exit, Problem
from binventory.names import Names

_MISSING = "does not exist"
_FETCH_CURE = "photos are fetched by https from listed hosts only: --allow-host NAME lists one more"
_NOTHING_TO_DO = "No updates are to be performed"


@dataclass(frozen=True)
class EndpointState:
    """The serving stack and its endpoint as they are now."""

    name: str
    stack_status: str
    switched_on: bool
    package: str  # ARN of the model package the stack serves, "" before the first promotion
    status: str  # InService, Creating, ... ; "absent" where there is no endpoint
    instances: int


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


def approve(aws: Aws, package: str, note: str) -> None:
    """Approves a model package; its event makes the promotion Lambda update the serving stack.

    What its execution cost goes into its lineage with the approval, since only then all of its jobs have ended.
    """
    price = lineage.of_package(aws, package)
    try:
        aws.client("sagemaker").update_model_package(
            ModelPackageArn=package,
            ModelApprovalStatus="Approved",
            ApprovalDescription=note,
            **({"CustomerMetadataProperties": price} if price else {}),
        )
    except ClientError as error:
        raise Problem(
            f"The model package {package} was not approved",
            error_message(error),
            "list what is registered: aws sagemaker list-model-packages",
        ) from error


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


def switch(aws: Aws, names: Names, state: str) -> bool:
    """Updates the serving stack with its own template and EndpointState `on` or `off`; False when it is so already."""
    stack = describe_stack(aws, names.serving_stack)
    parameters = [
        {"ParameterKey": item["ParameterKey"], "UsePreviousValue": True}
        for item in stack.get("Parameters", [])
        if item["ParameterKey"] != "EndpointState"
    ]
    try:
        aws.client("cloudformation").update_stack(
            StackName=names.serving_stack,
            UsePreviousTemplate=True,
            Parameters=[*parameters, {"ParameterKey": "EndpointState", "ParameterValue": state}],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
    except ClientError as error:
        if _NOTHING_TO_DO in error_message(error):
            return False
        raise Problem(
            f"The endpoint was not turned {state}",
            error_message(error),
            f"look at the stack: aws cloudformation describe-stack-events --stack-name {names.serving_stack}",
        ) from error
    return True


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


def follow_promotion(aws: Aws, names: Names, package: str, *, timeout: float, every: float = 0.5) -> Iterator[str]:
    """Yields what happens until the endpoint serves `package`; a Problem when the stack refuses or time is up."""
    seen: set[str] = set()
    list(stack_events(aws, names.serving_stack, seen))
    deadline = time.monotonic() + timeout
    failures: list[str] = []
    while True:
        for event in stack_events(aws, names.serving_stack, seen):
            if "FAILED" in event.status:
                failures.append(f"{event.resource}: {event.reason or event.status}")
            yield f"{event.resource} {event.status.replace('_', ' ').lower()}"
        state = endpoint_state(aws, names)
        if state.package == package and state.status == "InService" and state.stack_status.endswith("_COMPLETE"):
            return
        if "ROLLBACK" in state.stack_status and state.stack_status.endswith(("_COMPLETE", "_FAILED")) and failures:
            raise _not_promoted(names, "; ".join(failures))
        if time.monotonic() > deadline:
            stand = f"stack {state.stack_status}, endpoint {state.status}, serving {state.package or 'nothing'}"
            raise _not_promoted(names, f"it did not happen within {timeout:.0f} s ({stand})")
        time.sleep(every)


def _not_promoted(names: Names, why: str) -> Problem:
    return Problem(
        f"The model was not promoted to the endpoint {names.prefix}",
        why,
        f"look at /aws/lambda logs of the promotion function and at the events of the stack {names.serving_stack}",
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
