"""What should serve: a pure function from facts to a decision.

In the order of precedence:

1. A spent budget keeps the endpoint off.
2. The latest of these decides: a person's switch, the serving hours, the approval of a new version (on).
3. An endpoint without calls goes off.
4. Otherwise it stays as it is.

The newest approved version serves. Where no version is approved any more, the one that serves stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from promotion.memory import SwitchRequest
from promotion.registry import Package


@dataclass(frozen=True, kw_only=True)
class ServingFacts:
    """All facts of which the decision is made."""

    package: str
    """ARN of the package that the stack names; empty before the first."""
    state: str
    """`on` or `off`, as the stack has it."""
    newest: Package | None
    """The newest approved package."""
    decided: int
    """The newest approved version at the last decision."""
    request: SwitchRequest | None = None
    """The latest request that is not decided yet."""
    idle: str = ""
    """Why the endpoint counts as idle, in words; empty while it is called."""
    spent: str = ""
    """That the budget is spent, in words; empty while it is not."""


@dataclass(frozen=True)
class ServingDecision:
    """What should serve."""

    package: str
    state: str
    because: str
    """What turned the endpoint on or off, in words; empty where it stays as it was."""
    new: bool
    """Whether the package was approved since the last decision."""
    idle: bool
    """Whether it goes off because it is idle."""
    held: str
    """Why it stays off although it should be on, in words; else empty."""


def decide(facts: ServingFacts) -> ServingDecision:
    """Decides by the facts, in the order above."""
    newest, request = facts.newest, facts.request
    state, because = facts.state, ""
    new = newest if newest and newest.arn != facts.package and newest.version > facts.decided else None
    if new:
        state, because = "on", f"version {new.version} was approved"
    if request and not (new and new.approved_at > request.at):
        state, because = request.state, request.by
    idle = not because and state == "on" and bool(facts.idle)
    if idle:
        state, because = "off", facts.idle
    held = ""
    if state == "on" and facts.spent:
        state, held = "off", facts.spent
    elif state == "on" and facts.state == "off" and newest is None:
        state, held = "off", "no model package is approved"
    return ServingDecision(newest.arn if newest else facts.package, state, because, new is not None, idle, held)
