"""The endpoint as SageMaker runs it."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

from botocore.exceptions import ClientError

from clients import client

_SETTLED = frozenset({"InService", "Failed", "OutOfService", "UpdateRollbackFailed"})
_MINUTE = 60


@dataclass(frozen=True)
class Endpoint:
    """The endpoint at one moment."""

    name: str
    status: str
    configuration: str
    """Name of the endpoint configuration that answers requests."""
    failure: str
    modified: datetime.datetime

    @property
    def changing(self) -> bool:
        """Whether SageMaker is at work on it, for example because autoscaling adds an instance."""
        return self.status not in _SETTLED


def find(name: str) -> Endpoint | None:
    """The endpoint; None where there is none."""
    try:
        found = client("sagemaker").describe_endpoint(EndpointName=name)
    except ClientError as error:
        if "Could not find" in str(error):
            return None
        raise
    return Endpoint(
        name,
        found["EndpointStatus"],
        found.get("EndpointConfigName", ""),
        found.get("FailureReason", ""),
        found["LastModifiedTime"],
    )


def idle_for(endpoint: Endpoint, variant: str, seconds: float) -> str:
    """Says that the endpoint had no invocation for so long; empty where it had one, or is younger or changing."""
    now = datetime.datetime.now(datetime.UTC)
    if endpoint.status != "InService" or (now - endpoint.modified).total_seconds() < seconds:
        return ""
    if _invocations(endpoint.name, variant, now - datetime.timedelta(seconds=seconds), now):
        return ""
    return f"endpoint {endpoint.name} had no invocation in {seconds / 3600:.3g} h"


def _invocations(endpoint: str, variant: str, start: datetime.datetime, end: datetime.datetime) -> float:
    start = start.replace(second=0, microsecond=0)  # a value is filed under the beginning of its minute
    seconds = (end - start).total_seconds()
    answer = client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
        StartTime=start,
        EndTime=end,
        # One bucket for all of it would do, but CloudWatch takes whole minutes and at most 1,440 buckets.
        Period=_MINUTE * max(1, math.ceil(seconds / 1440 / _MINUTE)),
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in answer["Datapoints"]))
