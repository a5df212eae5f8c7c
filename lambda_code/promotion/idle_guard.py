"""The idle guard: whether nobody has called the endpoint for so long that it should be turned off."""

from __future__ import annotations

import datetime
import math

from functions.aws import client
from promotion.serving_stack import ServedEndpoint
from stacks.names import CALL_METRICS

_MINUTE = 60


def idle_for(endpoint: ServedEndpoint, variant: str, seconds: float) -> str:
    """Why the endpoint counts as idle, in words; empty where it had an invocation, is younger than that, or changes."""
    now = datetime.datetime.now(datetime.UTC)
    if endpoint.status != "InService" or (now - endpoint.modified).total_seconds() < seconds:
        return ""
    start = now - datetime.timedelta(seconds=seconds)
    if any(_counted(endpoint.name, variant, start, now, *metric) for metric in CALL_METRICS):
        return ""
    return f"endpoint {endpoint.name} had no invocation in {seconds / 3600:.3g} h"


def _counted(
    endpoint: str, variant: str, start: datetime.datetime, end: datetime.datetime, metric: str, statistic: str
) -> float:
    start = start.replace(second=0, microsecond=0)  # a value is filed under the beginning of its minute
    seconds = (end - start).total_seconds()
    answer = client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
        StartTime=start,
        EndTime=end,
        # One bucket for all of it would do, but CloudWatch takes whole minutes and at most 1,440 buckets.
        Period=_MINUTE * max(1, math.ceil(seconds / 1440 / _MINUTE)),
        Statistics=[statistic],
    )
    return float(sum(point[statistic] for point in answer["Datapoints"]))
