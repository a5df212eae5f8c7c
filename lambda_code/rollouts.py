"""What became of the serving stack's updates: the rollout that failed, and the endpoint that is not as asked for.

An update can end well on paper while SageMaker has put the old model back, and an update that was rolled back looks
like an endpoint in service. Neither is left to be noticed by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint import Endpoint
from registry import Package
from serving_stack import CONFIGURATION, ServingStack, Stack, Update


@dataclass(frozen=True)
class Standing:
    """How the endpoint stands to what its stack asks for."""

    difference: str
    """In words, what is not as asked for; empty where everything is."""
    serves: str
    """In words, what answers requests."""
    undone: str
    """Why SageMaker put the old configuration back although the update ended well; empty where it did not."""


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


def failed_rollout(of: ServingStack, package: Package) -> Update | None:
    """The rollout of a package that failed since it was approved; None where it has not been tried since."""
    for update in of.updates():
        if update.started < package.approved_at:
            return None
        if update.promoted == package.version and update.rolled_back:
            return update
    return None
