"""An alarm that CloudWatch refuses is refused, by PutMetricAlarm and in a stack, and no part of one is left out."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.stacked import Stack

ALARM: dict[str, Any] = {
    "AlarmName": "rules",
    "Namespace": "Tests",
    "MetricName": "Rules",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 0,
    "ComparisonOperator": "GreaterThanThreshold",
}
PERIOD = "Period must be 10, 20, 30 or a multiple of 60"
LONG = "EvaluationPeriods * Period must be <= "
WRONG: list[tuple[dict[str, Any], str]] = [
    *(({"Period": period}, PERIOD) for period in (1, 5, 15, 59, 90)),
    ({"Period": 60, "EvaluationPeriods": 1441}, f"{LONG}86400, and is 86460"),
    ({"Period": 3540, "EvaluationPeriods": 25}, f"{LONG}86400"),
    ({"Period": 3600, "EvaluationPeriods": 169}, f"{LONG}604800"),
    ({"Period": 604860, "EvaluationPeriods": 1}, f"{LONG}604800"),
    ({"DatapointsToAlarm": 4}, "DatapointsToAlarm must be less than or equal to EvaluationPeriods"),
    ({"TreatMissingData": "notbreaching"}, "of TreatMissingData is none of breaching, notBreaching, ignore, missing"),
    ({"Period": None}, "Period is required"),
    ({"EvaluationPeriods": None}, "EvaluationPeriods is required"),
    ({"Threshold": None}, "Threshold is required"),
    ({"ComparisonOperator": None}, "ComparisonOperator is required"),
    ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "of ComparisonOperator is none of"),
    ({"MetricName": None}, "MetricName is required"),
    ({"Statistic": None}, "Exactly one of Statistic and ExtendedStatistic"),
    ({"ExtendedStatistic": "p90"}, "Exactly one of Statistic and ExtendedStatistic"),
    ({"EvaluateLowSampleCountPercentile": "ignore"}, "EvaluateLowSampleCountPercentile of an alarm does not run"),
    ({"EvaluationInterval": 60}, "EvaluationInterval of an alarm does not run locally"),
    ({"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 5}}, "WarmUpConfiguration of an alarm does not run"),
]
TAKEN: list[dict[str, Any]] = [
    *({"Period": period} for period in (10, 20, 30, 60, 300)),
    {"Period": 60, "EvaluationPeriods": 1440},
    {"Period": 3600, "EvaluationPeriods": 168},
    {"Period": 604800, "EvaluationPeriods": 1},
    {"DatapointsToAlarm": 3, "TreatMissingData": "ignore"},
    {"Statistic": None, "ExtendedStatistic": "p90"},
]


def alarm(changes: dict[str, Any]) -> dict[str, Any]:
    """An alarm with some members changed, or, with None, left out."""
    return {name: value for name, value in (ALARM | changes).items() if value is not None}


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_what_cloudwatch_refuses(client: ClientFactory, changes: dict[str, Any], words: str) -> None:
    cloudwatch = client("cloudwatch")
    with pytest.raises(ClientError) as refused:
        cloudwatch.put_metric_alarm(**alarm(changes))
    assert words in str(refused.value)
    stack = Stack(client, "alarm-rules")
    template = {"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm(changes)}}}
    assert stack.create(template) == "ROLLBACK_COMPLETE"
    assert words in stack.reasons()
    stack.delete()
    assert cloudwatch.describe_alarms(AlarmNames=["rules"])["MetricAlarms"] == []


@pytest.mark.parametrize("changes", TAKEN, ids=str)
def test_what_cloudwatch_takes(client: ClientFactory, changes: dict[str, Any]) -> None:
    cloudwatch = client("cloudwatch")
    cloudwatch.put_metric_alarm(**alarm(changes))
    (found,) = cloudwatch.describe_alarms(AlarmNames=["rules"])["MetricAlarms"]
    assert {name: found.get(name) for name in alarm(changes)} == alarm(changes)
    cloudwatch.delete_alarms(AlarmNames=["rules"])
    stack = Stack(client, "alarm-taken")
    template = {"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm(changes)}}}
    assert stack.create(template) == "CREATE_COMPLETE", stack.reasons()
    stack.delete()
