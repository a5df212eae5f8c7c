"""What should serve, serves, by the events alone: the deployed function, the rules of the templates, nobody else calls.

One cycle after the stack is free the end is the right one, whatever happened in which order meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.jobs import until
from tests.stacks.reconciled import LIMIT, Environment, Made


@pytest.fixture
def environment(made: Made) -> Iterator[Environment]:
    """An environment whose function is deployed, that serves its first package."""
    one: Environment = made()
    one.deploy()
    first = one.approved()
    until(lambda: at_rest(one) and one.serves() == first)
    yield one
    one.undeploy()


def at_rest(one: Environment) -> bool:
    return not one.stack_status().endswith("_IN_PROGRESS")


def rolling(one: Environment) -> None:
    """Waits until a rollout holds the stack."""
    until(lambda: not at_rest(one))


def ends_with(one: Environment, package: str, state: str = "on") -> None:
    """Waits until this serves, and checks that it still does after all events have been delivered."""

    def reached() -> bool:
        return at_rest(one) and one.asked == (package, state) and one.serves() == (package if state == "on" else "")

    until(reached)
    updates = one.updates()
    one.alerts(wait=2)
    assert reached() and one.updates() == updates


def test_five_approvals_in_a_row_during_a_rollout(environment: Environment) -> None:
    environment.approved(held=True)
    rolling(environment)
    waiting = [environment.approved() for _ in range(5)]
    assert not at_rest(environment)
    environment.release()
    ends_with(environment, waiting[-1])
    assert environment.updates() == 3, "the first, the one that was rolling, and the newest of the five"


def test_one_that_was_rejected_meanwhile_is_not_tried(environment: Environment) -> None:
    rolled = environment.approved(held=True)
    rolling(environment)
    waits = environment.approved()
    environment.judge(waits, "Rejected")
    assert not at_rest(environment)
    environment.release()
    ends_with(environment, rolled)
    assert environment.updates() == 2


def test_two_out_of_order(environment: Environment) -> None:
    older, newer, rolled = (environment.register(held=held) for held in (True, False, False))
    environment.judge(older)
    rolling(environment)
    environment.judge(rolled)
    environment.judge(newer)
    assert not at_rest(environment)
    environment.release()
    ends_with(environment, rolled)
    assert environment.updates() == 3


def test_the_budget_alert_in_the_middle_of_a_rollout(environment: Environment) -> None:
    package = environment.approved(held=True)
    rolling(environment)
    environment.spend(LIMIT * 1.01)
    assert not at_rest(environment)
    environment.release()
    ends_with(environment, package, "off")


def test_a_package_that_cannot_load(environment: Environment) -> None:
    first = environment.asked[0]
    bad = environment.approved(crash=True)
    until(lambda: environment.status_of(bad)[0] == "Rejected")
    assert "cannot load the model" in environment.status_of(bad)[1]
    ends_with(environment, first)
    assert environment.updates() == 2


def test_all_of_it_at_once(environment: Environment) -> None:
    """A rollout, one that cannot load, a rejection, an older version last, and a person who wants it off and on."""
    environment.approved(held=True)
    rolling(environment)
    waiting = [environment.register() for _ in range(2)]
    newest, rejected = environment.register(), environment.register()
    bad = environment.register(crash=True)
    for package in (bad, rejected, newest, *waiting):
        environment.judge(package)
    environment.judge(rejected, "Rejected")
    for state in ("off", "on"):
        environment.invoke(endpoint=state, by="Jo")
    assert not at_rest(environment)
    environment.release()
    ends_with(environment, newest)
    assert environment.status_of(bad)[0] == "Rejected"
    assert environment.waiting() == 0
