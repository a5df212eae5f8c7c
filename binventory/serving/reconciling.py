"""Calls the reconcile function, the only one that changes the serving stack, and follows the change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from binventory.assembly.templates import resources
from binventory.core.aws import DENIED, Aws, error_code
from binventory.core.deployed import not_deployed
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.serving.endpoint import EndpointState, endpoint_state, stack_events, template
from binventory.serving.registry import describe_package
from stacks.names import version_of

# CloudFormation's time beside SageMaker's rollout: model, alarms, clean-up.
_AROUND_SECONDS = 10 * 60.0
_WITHOUT_LIMIT_SECONDS = 30 * 60.0
_ASK_EVERY_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Comparison:
    """The function's result of comparing what should serve with what does."""

    outcome: str  # turned on | turned off | promoting | busy | held | left
    reason: str


def compare(aws: Aws, names: Names, **request: str) -> Comparison:
    """Calls the function once, which acts if the serving stack is free.

    request: `endpoint` (`on` or `off`) and `by`, to switch the endpoint; a busy stack is switched when it is free.
    """
    function = names.reconcile_function
    try:
        reply = aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(request).encode())
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        raise not_deployed(aws, names, f"function {function}") from error
    answer = json.loads(reply["Payload"].read())
    if "FunctionError" in reply:
        raise Problem(
            f"The function {function} failed",
            str(answer.get("errorMessage", answer)),
            f"read its log group /aws/lambda/{function}",
        )
    return Comparison(answer["outcome"], answer["reason"])


def request_on(aws: Aws, names: Names, by: str) -> Comparison | None:
    """Requests that the endpoint is on; None where these credentials or this account cannot."""
    try:
        return compare(aws, names, endpoint="on", by=by)
    except Problem as problem:
        if problem.code is not Exit.NOT_READY:
            raise
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
    return None


def rollout_seconds(template: dict[str, Any]) -> float:
    """How long an update of the deployed serving stack may take at most."""
    limits = [
        resource["Properties"]
        .get("DeploymentConfig", {})
        .get("BlueGreenUpdatePolicy", {})
        .get("MaximumExecutionTimeoutInSeconds")
        for resource in resources(template, "AWS::SageMaker::Endpoint").values()
    ]
    known = [float(limit) for limit in limits if limit]
    return max(known, default=_WITHOUT_LIMIT_SECONDS) + _AROUND_SECONDS


def wait_seconds(template: dict[str, Any]) -> float:
    """Longest time to wait: for an update that holds the stack, and then for the requested one."""
    return 2 * rollout_seconds(template)


def follow_promotion(aws: Aws, names: Names, package: str, timeout: float | None = None) -> Iterator[str]:
    """Yields what happens until the endpoint serves `package`; a Problem when it will not, or time is up.

    timeout: in seconds; None for the longest time that the deployed stack may take.
    """
    watch = _Watch(aws, names, timeout)
    while True:
        yield from watch.news()
        state = endpoint_state(aws, names)
        if state.rests and state.status == "InService":
            if state.package == package:
                return
            if version_of(state.package) > version_of(package):
                raise not_promoted(names, f"{state.package} was approved as well, is newer, and serves")
        judged = describe_package(aws, package)
        if judged.status != "Approved":
            why = judged.description or "no reason was given"
            raise not_promoted(
                names, f"it is {judged.status}: {why}", f"to try it again: {names.command(f'approve {package}')}"
            )
        answer = watch.ask(state)
        if answer and answer.outcome == "held":
            raise not_promoted(names, answer.reason, f"repair that, then: {names.command('endpoint on')}")
        watch.pause(lambda: not_promoted(names, watch.late(endpoint_state(aws, names))))


def follow_switch(aws: Aws, names: Names, wanted: str, timeout: float | None = None) -> Iterator[str]:
    """As `follow_promotion`, until the endpoint is `on` or `off`."""
    watch = _Watch(aws, names, timeout)
    answer: Comparison | None = compare(aws, names, endpoint=wanted, by="a person")
    while True:
        yield from watch.news()
        state = endpoint_state(aws, names)
        reached = state.switched_on == (wanted == "on") and state.status == (
            "InService" if wanted == "on" else "absent"
        )
        if state.rests and reached:
            return
        if answer and answer.outcome in {"held", "left"} and state.rests and not state.changing:
            stand = f"the stack is {state.stack_status}, the endpoint {state.status}"
            why = answer.reason if answer.outcome == "held" else "; ".join([*watch.failures, stand])
            raise _not_switched(names, wanted, why)
        answer = watch.ask(state)
        watch.pause(lambda: _not_switched(names, wanted, watch.late(endpoint_state(aws, names))))


class _Watch:
    """Reads the serving stack again and again, for a limited time."""

    def __init__(self, aws: Aws, names: Names, timeout: float | None) -> None:
        self._aws, self._names = aws, names
        self._timeout = timeout or wait_seconds(template(aws, names))
        self._began = time.monotonic()
        self._asked = self._began
        self._seen: set[str] = set()
        list(stack_events(aws, names.serving_stack, self._seen))
        self.failures: list[str] = []

    def news(self) -> Iterator[str]:
        """The stack's events since the last call."""
        for event in stack_events(self._aws, self._names.serving_stack, self._seen):
            if event.status in {"CREATE_FAILED", "UPDATE_FAILED"}:
                self.failures.append(f"{event.resource}: {event.reason or event.status}")
            yield f"{event.resource} {event.status.replace('_', ' ').lower()}"

    def ask(self, state: EndpointState) -> Comparison | None:
        """Calls the function when the stack is at rest, so that a lost event delays nothing."""
        now = time.monotonic()
        if not state.rests or now - self._asked < _ASK_EVERY_SECONDS:
            return None
        self._asked = now
        try:
            return compare(self._aws, self._names)
        except ClientError as error:
            if error_code(error) not in DENIED:
                raise
            return None  # a person who may approve may lack the right to call the function: events call it too

    def late(self, state: EndpointState) -> str:
        """The state of stack and endpoint when the time is up."""
        stand = f"stack {state.stack_status}, endpoint {state.status}, serving {state.package or 'nothing'}"
        waits = "" if state.rests else "; the request waits until the stack's change has ended, and is done then"
        return f"it did not happen within {self._timeout:.0f} s ({stand}){waits}"

    def pause(self, late: Callable[[], Problem]) -> None:
        """Waits until the next read; raises what `late` makes when the time is up."""
        if time.monotonic() - self._began > self._timeout:
            raise late()
        time.sleep(0.5 if self._aws.is_local else _LOOK_EVERY_SECONDS)


def not_promoted(names: Names, why: str, cure: str = "") -> Problem:
    """The failure of a promotion."""
    return Problem(
        f"The model was not promoted to the endpoint {names.prefix}",
        why,
        cure or f"look at the log group /aws/lambda/{names.reconcile_function} and the stack {names.serving_stack}",
    )


def _not_switched(names: Names, wanted: str, why: str) -> Problem:
    return Problem(
        f"The endpoint {names.prefix} was not turned {wanted}",
        why,
        f"see why: aws cloudformation describe-stack-events --stack-name {names.serving_stack}",
    )
