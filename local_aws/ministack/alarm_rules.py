"""Alarms that CloudWatch refuses, and alarms that ministack would make without a part of what they say.

Uses `_put_metric_alarm` and `_error` of `services.cloudwatch` of version 1.5.33; tests/contract/test_hooks.py fails for
one that moved when ministack is upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

from local_aws.ministack.stack_resources import Properties, refuse

_ONLY_ON_AWS: Final = (
    *("EvaluateLowSampleCountPercentile", "EvaluationCriteria", "EvaluationInterval", "EvaluationWindow", "Metrics"),
    *("ThresholdMetricId", "WarmUpConfiguration"),
)
_REQUIRED: Final = ("ComparisonOperator", "EvaluationPeriods", "MetricName", "Namespace", "Period", "Threshold")
_STATISTICS: Final = ("Statistic", "ExtendedStatistic")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "ComparisonOperator": (
        *("GreaterThanOrEqualToThreshold", "GreaterThanThreshold"),
        *("LessThanThreshold", "LessThanOrEqualToThreshold"),
    ),
    "TreatMissingData": ("breaching", "notBreaching", "ignore", "missing"),
}
_SHORT_PERIODS: Final = (10, 20, 30)
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR


def refuse_wrong_alarms() -> None:
    """Refuse an alarm that CloudWatch refuses or that does not run here, by PutMetricAlarm and in stacks."""
    from ministack.services import cloudwatch

    put = cloudwatch._put_metric_alarm

    @wraps(put)
    def put_checked(
        parameters: Mapping[str, Any], document: Mapping[str, Any], is_cbor: bool, is_json: bool = False
    ) -> Any:
        # The query protocol has `Metrics.member.1.Id`, each with a list of one text.
        stated = document if is_cbor or is_json else {name: value[0] for name, value in parameters.items()}
        if named := _only_on_aws({name.partition(".")[0]: value for name, value in stated.items()}):
            return cloudwatch._error("NotImplemented", named, 501, is_json, is_cbor)
        if wrong := _problem(stated):
            return cloudwatch._error("ValidationError", wrong, 400, is_json, is_cbor)
        return put(parameters, document, is_cbor, is_json)

    cloudwatch._put_metric_alarm = put_checked
    refuse("AWS::CloudWatch::Alarm", lambda properties: _only_on_aws(properties) or _problem(properties))


def _only_on_aws(stated: Properties) -> str:
    named = ", ".join(name for name in _ONLY_ON_AWS if stated.get(name))
    return f"{named} of an alarm does not run locally, only on AWS; give Namespace and MetricName" if named else ""


def _problem(stated: Properties) -> str:
    """What CloudWatch would not take of an alarm with a static threshold; empty if it takes it."""
    for name in _REQUIRED:
        if stated.get(name) in (None, ""):
            return f"{name} is required for an alarm with a static threshold"
    if sum(bool(stated.get(name)) for name in _STATISTICS) != 1:
        return "Exactly one of Statistic and ExtendedStatistic must be given"
    for name, choices in _CHOICES.items():
        if (value := stated.get(name)) and value not in choices:
            return f"Value {value} of {name} is none of {', '.join(choices)}"
    try:
        period, count = int(stated["Period"]), int(stated["EvaluationPeriods"])
        needed = int(stated.get("DatapointsToAlarm") or count)
    except (TypeError, ValueError):
        return "Period, EvaluationPeriods and DatapointsToAlarm must be whole numbers"
    return _problem_of_numbers(period, count, needed)


def _problem_of_numbers(period: int, count: int, needed: int) -> str:
    if period not in _SHORT_PERIODS and (period < 1 or period % 60):
        return f"Period must be 10, 20, 30 or a multiple of 60, not {period}"
    if count < 1:
        return f"EvaluationPeriods must be at least 1, not {count}"
    longest = _DAY if period < _HOUR else 7 * _DAY
    if period * count > longest:
        return (
            "Metrics cannot be checked across more than a day, or seven days where Period is an hour or more: "
            f"EvaluationPeriods * Period must be <= {longest}, and is {period * count}"
        )
    if not 1 <= needed <= count:
        return f"DatapointsToAlarm must be less than or equal to EvaluationPeriods, and at least 1, not {needed}"
    return ""
