"""Turns the endpoint off when nobody has called it for a while. It runs on a schedule."""

from __future__ import annotations

import datetime
import math
import os
from typing import Any

import boto3

from endpoint import Report, is_on, serving_stack, switch, tell

_MINUTE = 60


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Looks at the invocations since the limit; a new or changing endpoint gets the same time as any other."""
    stack = serving_stack()
    if not is_on(stack):
        return Report("left", "the endpoint is off").logged()
    name, limit = os.environ["ENDPOINT"], float(os.environ["IDLE_SECONDS"])
    endpoint = boto3.client("sagemaker").describe_endpoint(EndpointName=name)
    now = datetime.datetime.now(datetime.UTC)
    age = (now - endpoint["LastModifiedTime"]).total_seconds()
    if endpoint["EndpointStatus"] != "InService":
        return Report("left", f"endpoint {name} is {endpoint['EndpointStatus']}").logged()
    if age < limit:
        return Report("left", f"endpoint {name} was changed {_hours(age)} ago, less than {_hours(limit)}").logged()
    invocations = _invocations(name, now - datetime.timedelta(seconds=limit), now)
    if invocations:
        return Report("left", f"endpoint {name} had {invocations:.0f} invocations in {_hours(limit)}").logged()
    reason = f"endpoint {name} had no invocation in {_hours(limit)}"
    report = switch(stack, "off", reason)
    if report.outcome == "turned off":
        tell(
            f"{name}: idle, turned off",
            f"The {reason} and is being turned off. To bring it back: binventory endpoint on",
        )
    return report.logged()


def _invocations(endpoint: str, start: datetime.datetime, end: datetime.datetime) -> float:
    start = start.replace(second=0, microsecond=0)  # a value is filed under the beginning of its minute
    seconds = (end - start).total_seconds()
    answer = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": os.environ["VARIANT"]},
        ],
        StartTime=start,
        EndTime=end,
        # One bucket for all of it would do, but CloudWatch takes whole minutes and at most 1,440 buckets.
        Period=_MINUTE * max(1, math.ceil(seconds / 1440 / _MINUTE)),
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in answer["Datapoints"]))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h"
