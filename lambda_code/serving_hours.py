"""Turns the endpoint on and off by the clock. Two schedules call it, with the state they want."""

from __future__ import annotations

from typing import Any

from budget import current_budget, guard_percent
from endpoint import Report, is_on, serving_stack, switch
from serving_stack import MODEL_PACKAGE_ARN


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """The same model package comes back. What the budget guard turned off, the clock does not turn on again."""
    state = event["EndpointState"]
    stack = serving_stack()
    if is_on(stack) == (state == "on"):
        return Report("left", f"the endpoint is {state} already").logged()
    if state == "on":
        if not stack.parameters().get(MODEL_PACKAGE_ARN):
            return Report("left", "no model package has been promoted yet").logged()
        budget = current_budget()
        if guard_percent() and budget.percent >= guard_percent():
            return Report("left", f"{budget}; turn the endpoint on by hand if it is worth it").logged()
    return switch(stack, state, f"the schedule says {state}").logged()
