"""What became of the serving stack's updates: the rollout that failed, and the endpoint that is not as asked for.

An update can end well on paper while SageMaker has put the old model back, and an update that was rolled back looks
like an endpoint in service. Neither is left to be noticed by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint import Endpoint
from registry import Package
from serving_stack import CONFIGURATION, ServingStack, Stack, Update

_AGAIN = "It is marked Rejected in the registry, with the reason. To try it again: binventory approve"


@dataclass(frozen=True)
class Notice:
    """A message about a state that lasts; people get it once, as long as its key stays the same."""

    key: str
    subject: str
    message: str


@dataclass(frozen=True)
class Standing:
    """How the endpoint stands to what its stack asks for."""

    difference: str
    """In words, what is not as asked for; empty where everything is."""
    serves: str
    """In words, what answers requests."""
    undone: str
    """Why SageMaker put the configuration before back although the update ended well; empty where it did not."""


def standing(of: ServingStack, stack: Stack, found: Endpoint | None) -> Standing:
    """Compares the endpoint with a stack that is at rest."""
    wanted = of.configuration() if stack.serves else ""
    difference = _difference(stack, wanted, found)
    serves = f"the endpoint serves {stack.package}" if stack.serves else "serving is off and there is no endpoint"
    undone = ""
    if (
        difference
        and stack.serves
        and found
        and found.status == "InService"
        # Nothing but a rollout that SageMaker undid brings back a configuration that the stack has replaced.
        and found.configuration.lower() in of.replaced()[CONFIGURATION]
    ):
        undone = found.failure or f"SageMaker put configuration {found.configuration} back"
    return Standing(difference, difference or serves, undone)


def _difference(stack: Stack, wanted: str, found: Endpoint | None) -> str:
    if not stack.serves:
        return f"the endpoint is {found.status} and bills although serving is off" if found else ""
    if found is None:
        return "there is no endpoint although serving is on"
    because = f" ({found.failure})" if found.failure else ""
    if found.status != "InService":
        return "" if found.changing else f"the endpoint is {found.status}{because}"
    if found.configuration.lower() != wanted:
        return (
            f"the endpoint serves configuration {found.configuration} instead of {wanted or 'none'}, "
            f"which holds {stack.package}{because}"
        )
    return ""


def notice_of(endpoint: str, of: ServingStack, stack: Stack, stands: Standing) -> Notice | None:
    """What people have to know about the last update or the endpoint."""
    last = next(of.updates(), None)
    if last and last.rolled_back:
        return rolled_back(endpoint, of.name, last, stands)
    if not stands.difference:
        return None
    if stands.undone:
        return Notice(
            stands.difference,
            f"{endpoint}: promotion rolled back",
            f"SageMaker undid the rollout of {stack.package}: {stands.undone}; {stands.difference}.\n\n{_AGAIN}",
        )
    return Notice(
        stands.difference,
        f"{endpoint}: not what was asked for",
        f"Stack {of.name} is {stack.status}, but {stands.difference}.\n\n"
        "Next: `binventory endpoint off`, then `binventory endpoint on`, which makes the endpoint anew.",
    )


def rolled_back(endpoint: str, stack: str, update: Update, stands: Standing) -> Notice:
    """An update that failed, with its cause and what serves instead."""
    what = f"promotion of version {update.promoted}" if update.promoted else "update"
    cure = _AGAIN if update.promoted else "The serving stack is as it was before"
    if update.ended.endswith("FAILED"):
        cure = f"Next: continue the rollback of {stack} in CloudFormation.\n{cure}"
    return Notice(
        update.ended_by,
        f"{endpoint}: {'promotion' if update.promoted else 'update'} rolled back",
        f"The {what} failed: {update.failure}; {stands.serves}.\n\n{cure}.",
    )


def failed_rollout(of: ServingStack, package: Package) -> Update | None:
    """The rollout of a package that failed since it was approved; None where it has not been tried since."""
    for update in of.updates():
        if update.started < package.approved_at:
            return None
        if update.promoted == package.version and update.rolled_back:
            return update
    return None
