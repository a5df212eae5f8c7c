"""When EventBridge Scheduler's schedules are due, in their own time zones; ministack takes every schedule for UTC.

Its CloudFormation also drops the properties for zone, start and end, and makes a schedule whose expression it cannot
read, which is never due.

Uses these internals of version 1.5.33: in `services.scheduler` `_schedules`, `_tick_schedules`,
`_SCHEDULE_TICK_INTERVAL`, `_schedule_last_fired`, `_to_epoch` and `_error`, in `services.eventbridge`
`_parse_rate_seconds`, `_parse_cron_fields`, `_cron_next_fire` and `_invoke_target`.
tests/contract/test_hooks.py fails for one that moved when ministack is upgraded.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from local_aws.ministack.refusals import SCHEDULES, Answer, before_writing
from local_aws.ministack.stack_resources import Properties, around

_log = logging.getLogger(__name__)
_AT: Final = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_DROPPED: Final = ("ScheduleExpressionTimezone", "StartDate", "EndDate", "KmsKeyArn")
_LOOK_SECONDS: Final = 1


def keep_time_zones() -> None:
    """Have schedules fire in their time zones; refuse one whose expression or zone cannot be read, as AWS does."""
    from ministack.services import scheduler

    scheduler._tick_schedules = partial(_fire_what_is_due, time.time())
    scheduler._SCHEDULE_TICK_INTERVAL = _LOOK_SECONDS

    def refusal(asked: Properties) -> Answer | None:
        wrong = problem(asked)
        refused: Answer | None = scheduler._error(400, "ValidationException", wrong) if wrong else None
        return refused

    before_writing("scheduler", SCHEDULES, refusal)
    around("AWS::Scheduler::Schedule", _with_what_it_drops)


def problem(schedule: Mapping[str, Any]) -> str:
    """Why AWS would not take the expression or the time zone of a request or resource; empty if it would."""
    expression, zone = str(schedule.get("ScheduleExpression") or ""), schedule.get("ScheduleExpressionTimezone")
    if zone and zone not in available_timezones():
        return f"Invalid ScheduleExpressionTimezone {zone}: it must be a name of the IANA time zone database."
    if expression and not _is_readable(expression):
        return f"Invalid Schedule Expression {expression}."
    return ""


def is_due(schedule: Mapping[str, Any], *, fired: float | None, now: float, seen: float = 0.0) -> bool:
    """Whether a schedule is due.

    Args:
        schedule: as GetSchedule returns it.
        fired: when it fired last, in seconds since 1970; None for never.
        now: the time now, in seconds since 1970.
        seen: since when somebody looks. What was due before is made up for by rates only.
    """
    from ministack.services.scheduler import _to_epoch

    starts, ends = _to_epoch(schedule.get("StartDate")), _to_epoch(schedule.get("EndDate"))
    if schedule.get("State") != "ENABLED" or (starts is not None and now < starts) or (ends is not None and now > ends):
        return False
    created = _to_epoch(schedule.get("CreationDate")) or 0.0
    if fired is not None and fired < created:
        fired = None  # an earlier schedule of this name did
    expression = str(schedule.get("ScheduleExpression", ""))
    if (once := single_time(schedule)) is not None:
        return fired is None and seen <= once <= now
    if (seconds := _rate(expression)) is not None:
        return now - (created if fired is None else fired) >= seconds
    due = _next_by_cron(expression, _zone(schedule), max(created, seen) if fired is None else fired)
    return due is not None and due <= now


def single_time(schedule: Mapping[str, Any]) -> float | None:
    """The time that a schedule `at(...)` names, in seconds since 1970; None for one that comes again."""
    moment = _on_the_clock(str(schedule.get("ScheduleExpression", "")))
    return None if moment is None else moment.replace(tzinfo=_zone(schedule)).timestamp()


def _zone(schedule: Mapping[str, Any]) -> ZoneInfo:
    return ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")


def _is_readable(expression: str) -> bool:
    from ministack.services import eventbridge

    read = (_on_the_clock, _rate, eventbridge._parse_cron_fields)
    return any(reader(expression) is not None for reader in read)


def _on_the_clock(expression: str) -> datetime | None:
    """The time of `at(...)`, on the clock of the schedule's zone; None for another expression."""
    found = _AT.fullmatch(expression)
    with suppress(ValueError):
        return datetime.fromisoformat(found[1]) if found else None
    return None


def _rate(expression: str) -> int | None:
    """The seconds of `rate(...)`; None for another expression."""
    from ministack.services import eventbridge

    return eventbridge._parse_rate_seconds(expression) or None


def _next_by_cron(expression: str, zone: ZoneInfo, after: float) -> float | None:
    """When `cron(...)` is due next; None for never, as for another expression."""
    from ministack.services import eventbridge

    if (fields := eventbridge._parse_cron_fields(expression)) is None:
        return None
    due = eventbridge._cron_next_fire(fields, datetime.fromtimestamp(after, zone).replace(fold=0))
    # As on AWS, a time that the clocks leave out in spring is skipped, and one that comes twice in autumn counts once.
    while due is not None and (due.timestamp() <= after or not _exists(due)):
        due = eventbridge._cron_next_fire(fields, due)
    return None if due is None else float(due.timestamp())


def _exists(moment: datetime) -> bool:
    there = moment.astimezone(UTC).astimezone(moment.tzinfo)
    return there.replace(tzinfo=None) == moment.replace(tzinfo=None)


def _fire_what_is_due(seen: float) -> None:
    """Invoke the target of every schedule that is due; one that is over, with ActionAfterCompletion DELETE, is removed.

    seen: since when this is called.
    """
    from ministack.core.responses import get_account_id, get_region, set_request_account_id, set_request_region
    from ministack.services import eventbridge, scheduler

    before = get_account_id(), get_region()
    fired, now = scheduler._schedule_last_fired, time.time()
    try:
        for place, schedule in list(scheduler._schedules._data.items()):
            account, region, _ = place
            ends = scheduler._to_epoch(schedule.get("EndDate"))
            over = ends is not None and now > ends
            try:
                if is_due(schedule, fired=fired.get(place), now=now, seen=seen):
                    fired[place] = now
                    # The target is invoked in the schedule's account and region.
                    set_request_account_id(account)
                    set_request_region(region)
                    eventbridge._invoke_target(schedule.get("Target") or {}, _event(schedule, place, now), schedule)
                    over = str(schedule.get("ScheduleExpression")).startswith("at(")
            except Exception:
                _log.exception("the schedule %s could not be run", schedule.get("Arn"))
            if over and schedule.get("ActionAfterCompletion") == "DELETE":
                scheduler._schedules._data.pop(place, None)
                fired.pop(place, None)
    finally:
        set_request_account_id(before[0])
        set_request_region(before[1])


def _event(schedule: Mapping[str, Any], place: tuple[str, str, str], now: float) -> dict[str, Any]:
    """What a target without an Input gets."""
    return {
        "EventId": str(uuid.uuid4()),
        "Source": "aws.scheduler",
        "DetailType": "Scheduled Event",
        "Detail": "{}",
        "Time": now,
        "Resources": [schedule.get("Arn", "")],
        "Account": place[0],
        "Region": place[1],
    }


def _with_what_it_drops(properties: Properties, work: Callable[[], Any]) -> Any:
    from ministack.services import scheduler

    if wrong := problem(properties):
        raise ValueError(f"{wrong} (Service: Scheduler, Status Code: 400)")
    name, attributes = work()
    kept = scheduler._schedules[f"{properties.get('GroupName', 'default')}/{name}"]
    kept.update({member: properties.get(member) for member in _DROPPED})
    kept["ScheduleExpressionTimezone"] = properties.get("ScheduleExpressionTimezone") or "UTC"
    return name, attributes
