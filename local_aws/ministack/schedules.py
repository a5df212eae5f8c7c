"""The context attributes of EventBridge Scheduler, which ministack delivers as they were written.

Uses these internals of version 1.5.33: `services.eventbridge._invoke_target` and `services.scheduler._at_time_epoch`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

_SCHEDULER: Final = "aws.scheduler"
_MINUTE: Final = 60


def fill_in_attributes() -> None:
    """Put the schedule's ARN, its time and the delivery in place of `<aws.scheduler.NAME>` in the input of a target."""
    from ministack.services import eventbridge, scheduler

    invoke = eventbridge._invoke_target

    @wraps(invoke)
    def invoke_filled(target: Mapping[str, Any], event: Mapping[str, Any], rule: Mapping[str, Any], *more: Any) -> Any:
        if event.get("Source") != _SCHEDULER or not target.get("Input"):
            return invoke(target, event, rule, *more)
        expression = str(rule.get("ScheduleExpression", ""))
        at = scheduler._at_time_epoch(expression)
        values = {
            "schedule-arn": rule.get("Arn", ""),
            "scheduled-time": _written(_due(expression, event["Time"]) if at is None else at),
            "execution-id": event["EventId"],
            "attempt-number": "1",
        }
        text = target["Input"]
        for name, value in values.items():
            text = text.replace(f"<aws.scheduler.{name}>", value)
        return invoke({**target, "Input": text}, event, rule, *more)

    eventbridge._invoke_target = invoke_filled


def _due(expression: str, now: float) -> float:
    """When it was due: cron names minutes, and ministack looks several times a minute."""
    return now // _MINUTE * _MINUTE if expression.startswith("cron") else now


def _written(epoch: float) -> str:
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
