"""Alarms: the state that follows from data points, thresholds and missing data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.other_services.alarms import evaluate, period_values

VALUES = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=8)


def alarm(count: int, needed: int, treatment: str, threshold: float = 0.0) -> dict[str, Any]:
    """A metric alarm that rings above its threshold."""
    return {
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": threshold,
        "EvaluationPeriods": count,
        "DatapointsToAlarm": needed,
        "TreatMissingData": treatment,
    }


@given(values=VALUES, data=st.data(), threshold=st.floats(-1e6, 1e6))
def test_with_all_data_it_rings_exactly_when_enough_datapoints_breach(
    values: list[float | None], data: st.DataObject, threshold: float
) -> None:
    """M out of N, with every treatment of missing data while no data is missing."""
    present = [0.0 if value is None else value for value in values]
    needed = data.draw(st.integers(1, len(present)))
    treatment = data.draw(st.sampled_from(["missing", "notBreaching", "breaching", "ignore"]))
    state = evaluate(alarm(len(present), needed, treatment, threshold), present)
    breaching = sum(value > threshold for value in present)
    assert state is not None
    assert state.value == ("ALARM" if breaching >= needed else "OK")


@given(values=VALUES, data=st.data())
def test_missing_data_counts_as_the_alarm_defines(values: list[float | None], data: st.DataObject) -> None:
    """`breaching` and `notBreaching` are the same as having had such a datapoint."""
    needed = data.draw(st.integers(1, len(values)))
    for treatment, stands_for in (("breaching", 1.0), ("notBreaching", -1.0)):
        filled = [stands_for if value is None else value for value in values]
        state = evaluate(alarm(len(values), needed, treatment), values)
        expected = evaluate(alarm(len(values), needed, "missing"), filled)
        assert state is not None and expected is not None
        assert state.value == expected.value


@pytest.mark.parametrize(
    ("needed", "values", "expected"),
    [
        (3, [1.0, None, None], "ALARM"),
        (3, [1.0, None, 1.0], "ALARM"),
        (3, [None, 1.0, 1.0], "OK"),
        (3, [None, None, 1.0], "OK"),
        (3, [1.0, None, -1.0], "OK"),
        (2, [-1.0, 1.0, None], "OK"),
        (2, [None, 1.0, None], "ALARM"),
        (2, [1.0, None, None], "ALARM"),
        (2, [None, None, 1.0], "OK"),
    ],
)
def test_a_breaching_datapoint_that_is_old_enough_rings_when_nothing_else_is_there(
    needed: int, values: list[float | None], expected: str
) -> None:
    """Only where missing data are missing: AWS's page calls it avoiding a premature transition."""
    state = evaluate(alarm(3, needed, "missing"), values)
    assert state is not None and state.value == expected
    kept = evaluate(alarm(3, needed, "ignore"), values)
    assert kept is None or kept.value == ("ALARM" if values.count(1.0) >= needed else "OK")


def test_no_data_at_all() -> None:
    """Unknown by default, unchanged when it is to be ignored."""
    state = evaluate(alarm(3, 2, "missing"), [None, None, None])
    assert state is not None and state.value == "INSUFFICIENT_DATA"
    assert evaluate(alarm(3, 2, "ignore"), [None, None, None]) is None


@given(
    ages=st.lists(st.floats(0, 1000, exclude_max=True), max_size=40),
    now=st.floats(10_000, 20_000),
    seconds=st.floats(0.5, 100),
    count=st.integers(1, 6),
)
def test_every_point_is_in_its_period_of_the_clock(ages: list[float], now: float, seconds: float, count: int) -> None:
    """No point is counted twice or lost, and none from before the window counts."""
    points = [{"Timestamp": now - age} for age in ages]
    sizes = period_values(points, now=now, seconds=seconds, count=count, statistic=lambda some: float(len(some)))
    expected = [0] * count
    for point in points:
        age = int(now // seconds - point["Timestamp"] // seconds)
        if age < count:
            expected[count - 1 - age] += 1
    assert [int(size or 0) for size in sizes] == expected


@given(
    errors=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    looks=st.lists(st.floats(1, 6), min_size=2, max_size=20),
    seconds=st.floats(0.5, 3),
)
def test_an_alarm_that_has_ended_does_not_come_back_without_new_data(
    errors: list[float], looks: list[float], seconds: float
) -> None:
    """Else a rollout that waited for its end would be rolled back all the same."""
    points = [{"Timestamp": 10_000 + moment} for moment in errors]
    states = []
    for look in sorted(looks):
        values = period_values(
            points, now=10_000 + look, seconds=seconds, count=3, statistic=lambda some: float(len(some))
        )
        state = evaluate(alarm(3, 2, "notBreaching"), values)
        assert state is not None
        states.append(state.value)
    assert states == sorted(states), "ALARM as long as it lasts, then OK"
