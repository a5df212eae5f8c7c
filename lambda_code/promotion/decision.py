"""What should serve, from everything that has a say in it. Pure: facts in, decision out.

The order in which they count:

1. A spent budget keeps the endpoint off.
2. The latest of these decides: a person's switch, the serving hours, the approval of a new version (on).
3. An endpoint that nobody calls goes off.
4. Otherwise it stays as it is.

What serves is the newest approved version. It replaces what serves; where none is approved any more, what serves stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from promotion.memory import SwitchRequest
from promotion.registry import Package


@dataclass(frozen=True, kw_only=True)
class ServingFacts:
    """Everything that has a say."""

    package: str
    """ARN of the package that the stack names; empty before the first."""
    state: str
    """`on` or `off`, as the stack has it."""
    newest: Package | None
    """The newest approved package."""
    decided: int
    """The newest approved version when it was last decided what serves."""
    request: SwitchRequest | None = None
    """The latest request that is not decided yet."""
    idle: str = ""
    """That nobody calls the endpoint, in words; empty while somebody does."""
    spent: str = ""
    """That the budget is spent, in words; empty while it is not."""


@dataclass(frozen=True)
class ServingDecision:
    """What should serve."""

    package: str
    state: str
    because: str
    """What turned the endpoint on or off, in words; empty where nobody did."""
    new: bool
    """Whether the package was approved since it was last decided what serves."""
    idle: bool
    """Whether it goes off because nobody calls it."""
    held: str
    """Why it is not on although it should be, in words; empty where it is as it should be."""


def decide(facts: ServingFacts) -> ServingDecision:
    """Weighs the facts in the order above."""
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
