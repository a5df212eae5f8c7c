"""The traffic that a deployed endpoint has had, from CloudWatch, and what it says about the mode of serving."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from binventory.assembly.templates import Json, resources
from binventory.core.aws import Aws, error_message
from binventory.core.names import Names
from binventory.cost.prices import Prices
from binventory.cost.quantities import endpoint_of
from binventory.cost.serving_advice import ServingAdvice, advise
from stacks.names import CALL_METRICS

DAYS: Final = 14
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True)
class Traffic:
    """Calls of an endpoint."""

    calls: int
    days: float
    """Since the first call of the last two weeks; at least one day."""

    @property
    def a_day(self) -> float:
        """Calls a day."""
        return self.calls / self.days


def seen(aws: Aws, endpoint: str, variant: str, now: datetime) -> Traffic | None:
    """The endpoint's calls in the last two weeks; None where it had none.

    Raises:
        ClientError: the metrics may not be read.
    """
    for metric, statistic in CALL_METRICS:
        reply: dict[str, Any] = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
            StartTime=now - timedelta(days=DAYS),
            EndTime=now,
            Period=_DAY_SECONDS,
            Statistics=[statistic],
        )
        if points := [point for point in reply["Datapoints"] if point[statistic]]:
            first = min(point["Timestamp"] for point in points)
            days = max(1.0, math.ceil((now - first) / timedelta(days=1)))
            return Traffic(round(sum(point[statistic] for point in points)), days)
    return None


def advice(aws: Aws, names: Names, prices: Prices, now: datetime) -> ServingAdvice | None:
    """The advice for the deployed endpoint at the traffic seen; None without a stack, traffic or price.

    Raises:
        ClientError: the template or the metrics may not be read.
    """
    template = _template(aws, names.serving_stack)
    endpoint = endpoint_of([template]) if template else None
    if template is None or endpoint is None:
        return None
    config = next(iter(resources(template, "AWS::SageMaker::EndpointConfig").values()))
    found = seen(aws, names.prefix, config["Properties"]["ProductionVariants"][0]["VariantName"], now)
    return advise(endpoint, prices, found.a_day) if found else None


def _template(aws: Aws, stack: str) -> Json | None:
    try:
        body = aws.client("cloudformation").get_template(StackName=stack)["TemplateBody"]
    except ClientError as error:
        if "does not exist" not in error_message(error):
            raise
        return None
    return dict(json.loads(body) if isinstance(body, str) else body)
