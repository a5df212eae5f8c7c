"""Whether another mode of serving would be much cheaper at the traffic that the endpoint has had."""

from __future__ import annotations

from datetime import UTC, datetime

from binventory.core.aws import Aws
from binventory.core.names import Names
from binventory.cost import prices, traffic
from binventory.doctor.check import Check

NAME = "mode of serving"


def examine_mode(aws: Aws, names: Names) -> Check:
    """Compares the modes. Raises ClientError where the caller may not read metrics, Problem without prices."""
    found = traffic.advice(aws, names, prices.load(aws.region), datetime.now(UTC))
    if found is None:
        return Check(NAME, "good", f"the endpoint had no call in {traffic.DAYS} days, so there is nothing to compare")
    # Advice about money, and no reason to stop a deployment.
    return Check(NAME, "unknown" if found.change else "good", found.compared, found.cure(names.environment))
