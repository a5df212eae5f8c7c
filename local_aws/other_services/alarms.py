"""CloudWatch alarms, evaluated as on AWS: by dimension and period, M out of N, with missing data.

ministack evaluates all dimensions of a metric together, over all periods as one, and only when data arrive. Errors of
one endpoint would set the alarm of another, and the alarm of an endpoint without requests would stay in ALARM.
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


class AlarmState(NamedTuple):
    """The state of an alarm and its reason."""

    value: str
    reason: str


def evaluate(alarm: Document, values: Sequence[float | None]) -> AlarmState | None:
    """Evaluate an alarm.

    Args:
        alarm: as in DescribeAlarms.
        values: its statistic in each of the last EvaluationPeriods periods, the latest last; None without data.

    Returns:
        None when the state stays: missing data are ignored, or the comparison needs an anomaly model.
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
        return AlarmState("ALARM", f"Threshold Crossed: {breaching} datapoints [{shown}] against {threshold:g}")
    if treatment == "missing" and present and breaching == len(present) and _oldest(values) >= needed:
        # As AWS's page says: the oldest breaching datapoint is as old as DatapointsToAlarm, and all later ones are
        # breaching or missing. Where an older one is not breaching, AWS's examples say that the alarm stays OK.
        shown = ", ".join(f"{value:g}" for value in present)
        return AlarmState("ALARM", f"Threshold Crossed: all datapoints that are there [{shown}] against {threshold:g}")
    if not present and treatment == "missing":
        return AlarmState("INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received")
    if not present and treatment == "ignore":
        return None
    if treatment == "ignore" and breaching + len(values) - len(present) >= needed:
        return None  # the missing data points decide, and they keep the state
    return AlarmState("OK", f"Threshold not crossed: {breaching} of {needed} datapoints that an alarm needs")


def _oldest(values: Sequence[float | None]) -> int:
    """How many periods ago the oldest datapoint is; 1 is the latest period."""
    return len(values) - next(number for number, value in enumerate(values) if value is not None)


def period_values(
    points: Sequence[Document],
    *,
    now: float,
    seconds: float,
    count: int,
    statistic: Callable[[Sequence[Document]], float | None],
) -> list[float | None]:
    """A statistic in each of the last `count` periods of `seconds`, the latest last; None without data points.

    Periods begin at multiples of `seconds`, as on AWS: data points that share one share it until they leave the window,
    so an alarm that has ended does not come back without new data. The latest period counts before it is over, so that
    a rollout need not wait for its end.
    """
    periods: list[list[Document]] = [[] for _ in range(count)]
    latest = now // seconds
    for point in points:
        age = int(latest - point["Timestamp"] // seconds)
        if 0 <= age < count:
            periods[count - 1 - age].append(point)
    return [statistic(period) if period else None for period in periods]


def watch(context: Context) -> None:
    """Evaluate all alarms once a second, because their state also changes without new data."""

    def new_state(alarm: Document, points: Sequence[Document], statistic: hooks.Statistic) -> tuple[str, str] | None:
        if not points and alarm.get("TreatMissingData") in (None, "missing", "ignore"):
            return None  # without any data the state stays, also one that SetAlarmState has set
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
