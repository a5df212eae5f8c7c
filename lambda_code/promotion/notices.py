"""Messages to people. A message about a lasting state is sent once.

Two calls that find the state at the same moment may both send it: a message that comes twice is better than one that a
call has claimed and not sent.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from functions.interface import tell
from promotion.rollouts import Standing
from promotion.serving_stack import ServingStack, Stack, StackUpdate
from stacks.names import command_of


@dataclass(frozen=True)
class Notice:
    """A message about a lasting state; the key names the state."""

    key: str
    subject: str
    message: str


@dataclass
class Notices:
    """The notices of one comparison, sent to a topic unless an earlier comparison has sent them."""

    topic: str
    sent: set[str]
    """Keys of notices that were sent before."""
    found: dict[str, Notice] = field(default_factory=dict)

    def add(self, notices: Iterable[Notice]) -> None:
        """Sends the notices that are new."""
        for notice in notices:
            if notice.key not in self.sent | self.found.keys():
                tell(self.topic, notice.subject, notice.message)
            self.found.setdefault(notice.key, notice)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all notices found."""
        return tuple(self.found)


def of_stack(
    endpoint: str, of: ServingStack, stack: Stack, stands: Standing, arn_of: Callable[[int], str]
) -> list[Notice]:
    """Notices about the last update and the endpoint. `arn_of` gives the ARN of a version."""
    last = next(of.updates(), None)
    if last and last.rolled_back:
        return [rolled_back(endpoint, of.name, last, stands, arn_of)]
    if not stands.difference:
        return []
    if stands.undone:
        subject, cause = "promotion rolled back", f"SageMaker undid the rollout of {stack.package}: {stands.undone}"
        again = _again(endpoint, stack.package)
        return [Notice(stands.difference, f"{endpoint}: {subject}", f"{cause}; {stands.difference}.\n\n{again}")]
    off, on = command_of(endpoint, "endpoint off"), command_of(endpoint, "endpoint on")
    message = (
        f"Stack {of.name} is {stack.status}, but {stands.difference}.\n\n"
        f"Next: `{off}`, then `{on}`, which makes the endpoint anew."
    )
    return [Notice(stands.difference, f"{endpoint}: not what was asked for", message)]


def _again(endpoint: str, package: str) -> str:
    """How to try a package again. Without its ARN another would be approved: the newest that is pending."""
    command = command_of(endpoint, f"approve {package}")
    return f"It is marked Rejected in the registry, with the reason. To try it again: {command}"


def rolled_back(
    endpoint: str, stack: str, update: StackUpdate, stands: Standing, arn_of: Callable[[int], str]
) -> Notice:
    """Notice of an update that failed, with its cause and what serves instead. `arn_of` gives the ARN of a version."""
    what = f"promotion of version {update.promoted}" if update.promoted else "update"
    cure = "The serving stack is as it was before."
    if update.promoted:
        cure = _again(endpoint, arn_of(update.promoted))
    if update.ended.endswith("FAILED"):
        cure = f"Next: continue the rollback of {stack} in CloudFormation.\n{cure}"
    return Notice(
        update.ended_by,
        f"{endpoint}: {'promotion' if update.promoted else 'update'} rolled back",
        f"The {what} failed: {update.failure}; {stands.serves}.\n\n{cure}",
    )


def not_served(endpoint: str, package: str, held: str) -> Notice:
    """Notice of an approved package that is not served."""
    return Notice(
        f"held {package}",
        f"{endpoint}: approved, not served",
        f"{package} was approved, but {held}: the endpoint stays off.\n\n"
        f"Once the budget allows it: {command_of(endpoint, 'endpoint on')}",
    )


def nothing_approved(endpoint: str, package: str) -> Notice:
    """Notice of a rejected package that still serves, because no other is approved."""
    return Notice(
        f"nothing approved instead of {package}",
        f"{endpoint}: no model package is approved",
        f"The endpoint still serves {package}: it is not approved any more, but no other package is.\n\n"
        f"Next: approve the newest that waits, {command_of(endpoint, 'approve')}, or an earlier one, "
        f"{command_of(endpoint, 'approve ARN')}; or {command_of(endpoint, 'endpoint off')}",
    )


def unreadable(endpoint: str, bucket: str, key: str, why: str) -> Notice:
    """Notice of an object among the requests or decisions that is none."""
    uri = f"s3://{bucket}/{key}"
    return Notice(
        f"unreadable {key}",
        f"{endpoint}: an object that is no request",
        f"{uri} is not what the function of the endpoint writes there ({why}). It is passed over.\n\n"
        f"Look who wrote it, and delete it: aws s3 rm {shlex.quote(uri)}",
    )


def idle(topic: str, endpoint: str, because: str) -> None:
    """Sends at once that the endpoint is turned off because it is idle."""
    message = f"The {because} and is being turned off. To bring it back: {command_of(endpoint, 'endpoint on')}"
    tell(topic, f"{endpoint}: idle, turned off", message)


def spent(topic: str, name: str, endpoint: str, budget: str, outcome: str, stopped: int) -> None:
    """Sends at once what the spent budget, which is called `name`, has stopped; `outcome` is that for the endpoint."""
    tell(
        topic,
        f"{name}: the budget is spent",
        f"{budget}. The endpoint: {outcome}. Pipeline executions stopped: {stopped}.\n"
        "While the budget is spent the endpoint stays off and executions are stopped. Wait for the next month, or "
        "raise money.monthly_budget_usd or money.guard_percent and deploy. "
        f"Then: {command_of(endpoint, 'endpoint on')}",
    )
