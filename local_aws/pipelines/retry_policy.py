"""Retry policies of pipeline steps: what AWS takes as one, and when it repeats a step.

The limits and defaults are those of AWS's page "Retry Policy for Pipeline Steps".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RETRIED_STEPS = frozenset({"Processing", "Training", "Tuning", "Model", "RegisterModel"})
_INTERNAL_ERROR = "SageMaker.JOB_INTERNAL_ERROR"
_EXCEPTIONS = (
    "Step.SERVICE_FAULT",
    "Step.THROTTLING",
    _INTERNAL_ERROR,
    "SageMaker.CAPACITY_ERROR",
    "SageMaker.RESOURCE_LIMIT",
)
_MEMBERS = ("ExceptionType", "IntervalSeconds", "BackoffRate", "MaxAttempts", "ExpireAfterMin")
_USUAL_ATTEMPTS = 5


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a step is repeated.

    Args:
        exceptions: the errors for which it is.
        interval_seconds: pause before the first repetition.
        backoff_rate: factor of each further pause.
        max_attempts: the most repetitions; None where the time limits them.
        expire_after_minutes: counted from the start of the step; None where their number limits them.
    """

    exceptions: tuple[str, ...]
    interval_seconds: int
    backoff_rate: float
    max_attempts: int | None
    expire_after_minutes: int | None

    def pause(self, count: int) -> float:
        """Seconds before the next repetition after `count` of them."""
        return float(self.interval_seconds * self.backoff_rate**count)

    def allows(self, count: int, elapsed: float) -> bool:
        """Whether a step may be repeated after `count` repetitions, `elapsed` seconds after it started."""
        if self.max_attempts is not None:
            return count < self.max_attempts
        return self.expire_after_minutes is not None and elapsed < self.expire_after_minutes * 60


def read_policy(given: dict[str, Any]) -> RetryPolicy:
    """A policy of a definition. Raises `ValueError` with what AWS does not take in it."""
    unknown = sorted(given.keys() - set(_MEMBERS))
    if unknown:
        raise ValueError(f"unknown members: {', '.join(unknown)}; known: {', '.join(_MEMBERS)}")
    exceptions = given.get("ExceptionType")
    if not isinstance(exceptions, list) or not exceptions or not all(name in _EXCEPTIONS for name in exceptions):
        raise ValueError(f"ExceptionType must be a list of one or more of {', '.join(_EXCEPTIONS)}, got {exceptions!r}")
    if "MaxAttempts" in given and "ExpireAfterMin" in given:
        raise ValueError("give either MaxAttempts or ExpireAfterMin, not both")
    backoff = given.get("BackoffRate", 2.0)
    if isinstance(backoff, bool) or not isinstance(backoff, int | float) or not 0 <= backoff < math.inf:
        raise ValueError(f"BackoffRate must be a number of at least 0, got {backoff!r}")
    attempts = _whole(given, "MaxAttempts", 20)
    minutes = _whole(given, "ExpireAfterMin", 14_400)
    interval = _whole(given, "IntervalSeconds", 43_200)
    return RetryPolicy(
        exceptions=tuple(exceptions),
        interval_seconds=1 if interval is None else interval,
        backoff_rate=backoff,
        max_attempts=_USUAL_ATTEMPTS if attempts is None and minutes is None else attempts,
        expire_after_minutes=minutes,
    )


def policy_for(policies: Sequence[RetryPolicy], step_type: str, error: str) -> RetryPolicy | None:
    """The first policy of a step that names an error; None where none does."""
    if step_type == "Tuning" and error == _INTERNAL_ERROR:
        return None  # as on AWS, where the tuning job itself repeats its trials
    return next((policy for policy in policies if error in policy.exceptions), None)


def _whole(given: dict[str, Any], member: str, most: int) -> int | None:
    value = given.get(member)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most):
        raise ValueError(f"{member} must be a whole number from 0 to {most}, got {value!r}")
    return value
