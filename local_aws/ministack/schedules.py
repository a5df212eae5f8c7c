"""The context attributes of EventBridge Scheduler, which ministack delivers as they were written.

Uses `services.eventbridge._invoke_target` of version 1.5.33; tests/contract/test_hooks.py fails if it has moved when
ministack is upgraded.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

from local_aws.ministack.due_schedules import single_time

_SCHEDULER: Final = "aws.scheduler"
_MINUTE: Final = 60


def fill_in_attributes() -> None:
    """Put the schedule's ARN, its time and the delivery in place of `<aws.scheduler.NAME>` in the input of a target."""
    from ministack.services import eventbridge

    invoke = eventbridge._invoke_target

    @wraps(invoke)
    def invoke_filled(target: Mapping[str, Any], event: Mapping[str, Any], rule: Mapping[str, Any], *more: Any) -> Any:
        if event.get("Source") != _SCHEDULER or not target.get("Input"):
            return invoke(target, event, rule, *more)
        expression = str(rule.get("ScheduleExpression", ""))
        at = single_time(rule)
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
