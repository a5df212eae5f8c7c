"""Environments for tests of prices, made without a synthesis."""

from __future__ import annotations

import dataclasses
from typing import Any

from binventory.cost.quantities import Quantities

_EMPTY = Quantities(
    environment="dev",
    region="us-east-1",
    jobs=(),
    again=(),
    parameters={},
    input_size=224,
    endpoint=None,
    batch=None,
    keys=0,
    alarms=0,
    endpoint_alarms=0,
    dashboards=0,
    metrics=0,
    endpoint_metrics=0,
    interface_endpoints=0,
    nat_gateways=0,
    executions_kept_days=30,
)


def nothing_but(**parts: Any) -> Quantities:
    """An environment of these parts alone."""
    return dataclasses.replace(_EMPTY, **parts)
