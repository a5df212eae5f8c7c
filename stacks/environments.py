"""The environment of each Lambda function, as the stack that deploys it writes it and as the function reads it.

Packed with the functions, so it needs no package. The field `serving_stack` is the variable `SERVING_STACK`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class FingerprintEnvironment:
    """Of `lambda_code/fingerprint.py`."""

    listings: str
    """Prefix of the listings: s3://bucket/prefix."""
    seals: str
    """Prefix of what the step Seal has recorded."""


@dataclass(frozen=True, kw_only=True)
class ReconcileEnvironment:
    """Of `lambda_code/reconcile.py`."""

    account: str
    alerts_topic: str
    budget: str
    endpoint: str
    guard_percent: float
    """Share of the budget, in per cent, that turns the endpoint off and stops executions; 0: never."""
    idle_seconds: float
    """Time without an invocation after which the endpoint is turned off; 0: never."""
    memory_bucket: str
    model_package_group: str
    pipelines: tuple[str, ...]
    serving_stack: str
    update_role: str
    """The role with which CloudFormation changes the serving stack."""
    variant: str


@dataclass(frozen=True, kw_only=True)
class SpotFallbackEnvironment:
    """Of `lambda_code/spot_fallback.py`."""

    alerts_topic: str
    continuations: Mapping[str, Mapping[str, str]]
    """By the first step: the pipeline's `name`, and which parameters it `takes`, with spaces between them."""
    pipeline: str
    reclaims: int
    results: Mapping[str, str]
    """The result of a step that a continuing pipeline takes, as the path of its property, by the parameter's name."""


@dataclass(frozen=True, kw_only=True)
class DriftMonitorEnvironment:
    """Of `lambda_code/drift_monitor.py`."""

    account: str
    budget: str
    serving_stack: str
    endpoint: str
    endpoint_logs: str
    window_seconds: float
    minimum_photos: int
    count_shift_threshold: float
    confidence_shift_threshold: float
    count_shares: Mapping[str, float]
    """Share of each recorded count among the bins that callers ask about; empty: those of the test split."""


@dataclass(frozen=True, kw_only=True)
class RetrainingEnvironment:
    """Of `lambda_code/retraining.py`."""

    account: str
    budget: str
    pipelines: tuple[str, ...]
    """The one that is started, then those that continue its executions on demand."""
    retrain_days: float
    guard_percent: float
    alerts_topic: str


FunctionEnvironment = (
    FingerprintEnvironment
    | ReconcileEnvironment
    | SpotFallbackEnvironment
    | DriftMonitorEnvironment
    | RetrainingEnvironment
)


def variables_of(environment: FunctionEnvironment) -> dict[str, str]:
    """The environment variables: a tuple becomes words between spaces, a mapping becomes JSON."""
    return {field.name.upper(): _text(getattr(environment, field.name)) for field in fields(environment)}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if isinstance(value, Mapping) else str(value)
