"""What should serve: the order in which a budget, requests, approvals and idleness count, for every combination."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from promotion.decision import ServingFacts, decide
from promotion.memory import SwitchRequest
from promotion.registry import Package

GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package/bins"
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
moments = st.integers(0, 5).map(lambda hours: BEGIN + datetime.timedelta(hours=hours))
versions = st.integers(1, 4)
states = st.sampled_from(["on", "off"])


@st.composite
def facts(draw: st.DrawFn) -> ServingFacts:
    """Anything that may be found."""
    serving = draw(st.integers(0, 4))
    version = draw(st.none() | versions)
    return ServingFacts(
        package=f"{GROUP}/{serving}" if serving else "",
        state=draw(states),
        newest=None if version is None else Package(f"{GROUP}/{version}", version, draw(moments)),
        decided=draw(st.integers(0, 4)),
        request=draw(
            st.none() | st.builds(SwitchRequest, state=states, by=st.just("Jo"), at=moments, key=st.just("k"))
        ),
        idle=draw(st.sampled_from(["", "nobody calls"])),
        spent=draw(st.sampled_from(["", "all is spent"])),
    )


def is_new(of: ServingFacts) -> bool:
    return of.newest is not None and of.newest.arn != of.package and of.newest.version > of.decided


def changed(of: ServingFacts, **values: Any) -> ServingFacts:
    return ServingFacts(**{**vars(of), **values})


@given(facts())
def test_a_spent_budget_keeps_it_off_whatever_else_is_said(of: ServingFacts) -> None:
    assert decide(changed(of, spent="all is spent")).state == "off"


@given(facts())
def test_what_serves_is_the_newest_approved_or_stays(of: ServingFacts) -> None:
    assert decide(of).package == (of.newest.arn if of.newest else of.package)


@given(facts())
def test_it_is_never_turned_on_without_an_approved_package(of: ServingFacts) -> None:
    without = changed(of, newest=None, state="off")
    assert decide(without).state == "off"


@given(facts(), states)
def test_the_latest_word_counts(of: ServingFacts, state: str) -> None:
    late = SwitchRequest(state, "Jo", BEGIN + datetime.timedelta(days=1), "k")
    decision = decide(changed(of, request=late, spent=""))
    if state == "off" or of.newest or of.state == "on":
        assert (decision.state, decision.because) == (state, "Jo")
    early = SwitchRequest(state, "Jo", BEGIN - datetime.timedelta(days=1), "k")
    if is_new(of):
        assert decide(changed(of, request=early, spent="")).state == "on"


@given(facts())
def test_idleness_counts_least_and_only_turns_off(of: ServingFacts) -> None:
    busy, idle = decide(changed(of, idle="")), decide(changed(of, idle="nobody calls"))
    if of.request or is_new(of) or busy.state == "off":
        assert idle.state == busy.state
    else:
        assert (idle.state, idle.idle) == ("off", True)


@given(facts())
def test_without_a_word_it_stays_as_it_is(of: ServingFacts) -> None:
    quiet = changed(of, request=None, idle="", spent="", decided=4)
    assert decide(quiet).state == ("off" if quiet.state == "off" else "on")


@given(facts())
def test_what_was_decided_is_not_decided_again(of: ServingFacts) -> None:
    """The decision, carried out, leads to itself: called as often as anybody likes, it acts once."""
    decision = decide(of)
    after = changed(
        of,
        package=decision.package if decision.state == "on" else of.package,
        state=decision.state,
        decided=of.newest.version if of.newest else of.decided,
        request=None,
        idle="",
    )
    again = decide(after)
    assert (again.state, again.package) == (decision.state, decision.package)


@given(facts())
def test_whatever_keeps_it_off_is_said(of: ServingFacts) -> None:
    decision = decide(of)
    free = decide(changed(of, spent=""))
    if free.state == "on" and decision.state == "off":
        assert decision.held == "all is spent"
    if decision.held:
        assert decision.state == "off"
