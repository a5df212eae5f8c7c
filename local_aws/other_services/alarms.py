"""CloudWatch alarms as CloudWatch evaluates them: by dimension, period by period, M out of N, with missing data.

ministack pools all dimensions of a metric into one window over all periods and looks only when data arrives, so one
endpoint's errors ring another's alarm and a quiet endpoint's alarm rings for ever. A canary needs better than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.ministack import hooks

_EVERY_SECONDS = 1.0
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


class State(NamedTuple):
    """What an alarm should be, and why."""

    value: str
    reason: str


def evaluate(alarm: Document, values: Sequence[float | None]) -> State | None:
    """The state of an alarm.

    Args:
        alarm: as DescribeAlarms shows it.
        values: its statistic in each of the last EvaluationPeriods periods, the latest last; None without data.

    Returns:
        None when the state stays as it is: missing data that is to be ignored, or a comparison that needs a model.
    """
    compare = _COMPARE.get(alarm.get("ComparisonOperator", ""))
    if compare is None:
        return None
    threshold = float(alarm["Threshold"])
    needed = int(alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
    treatment = alarm.get("TreatMissingData") or "missing"
    present = [value for value in values if value is not None]
    breaching = sum(compare(value, threshold) for value in present)
    if treatment == "breaching":
        breaching += len(values) - len(present)
    if breaching >= needed:
        shown = ", ".join(f"{value:g}" for value in present) or "no data, which counts as breaching"
        return State("ALARM", f"Threshold Crossed: {breaching} datapoints [{shown}] against {threshold:g}")
    if not present and treatment == "missing":
        return State("INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received")
    if not present and treatment == "ignore":
        return None
    if treatment == "ignore" and breaching + len(values) - len(present) >= needed:
        return None  # the missing ones decide, and they keep the state
    return State("OK", f"Threshold not crossed: {breaching} of {needed} datapoints that an alarm needs")


def period_values(
    points: Sequence[Document],
    *,
    now: float,
    seconds: float,
    count: int,
    statistic: Callable[[Sequence[Document]], float | None],
) -> list[float | None]:
    """A statistic over each of the last `count` periods of `seconds`, the latest last; None where there is no point.

    The latest period ends now, instead of at the next full minute: a rollout should not have to wait for the clock.
    """
    periods: list[list[Document]] = [[] for _ in range(count)]
    for point in points:
        age = int((now - point["Timestamp"]) // seconds)
        if 0 <= age < count:
            periods[count - 1 - age].append(point)
    return [statistic(period) if period else None for period in periods]


def watch(context: Context) -> None:
    """Evaluate all alarms once a second, as time passing can change them too."""

    def new_state(alarm: Document, points: Sequence[Document], statistic: hooks.Statistic) -> tuple[str, str] | None:
        if not points and alarm.get("TreatMissingData") in (None, "missing", "ignore"):
            return None  # never had any data: it stays where it is, also when somebody set it by hand
        values = period_values(
            points,
            now=time.time(),
            seconds=float(alarm["Period"]) * context.time_scale,
            count=int(alarm["EvaluationPeriods"]),
            statistic=statistic,
        )
        return evaluate(alarm, values)

    hooks.replace_alarm_evaluation(new_state)
    while not context.stopping.wait(_EVERY_SECONDS):
        hooks.evaluate_alarms(account=context.account, region=context.region)
