"""EventBridge Scheduler's schedules are due by the clock of their time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from local_aws.ministack.due_schedules import is_due
from tests.contract.conftest import SCHEDULE_ROLE as ROLE
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import until
from tests.contract.stacked import Stack

FAR_EAST = "Pacific/Kiritimati"
"""Fourteen hours before UTC: a schedule that takes its time for UTC would be late."""
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:nightly"


def in_stack(expression: str, **properties: Any) -> dict[str, Any]:
    """A stack of one schedule."""
    target = {"Arn": FUNCTION, "RoleArn": ROLE}
    given = {"Name": "nightly", "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target, **properties}
    schedule = {"Type": "AWS::Scheduler::Schedule", "Properties": {"ScheduleExpression": expression, **given}}
    return {"Resources": {"Nightly": schedule}}


def test_a_schedule_fires_by_the_clock_of_its_zone(client: ClientFactory) -> None:
    queue = client("sqs").create_queue(QueueName="fired")["QueueUrl"]
    when = datetime.now(ZoneInfo(FAR_EAST)) + timedelta(seconds=1)
    client("scheduler").create_schedule(
        Name="once",
        ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})",
        ScheduleExpressionTimezone=FAR_EAST,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:sqs:us-east-1:123456789012:fired", "RoleArn": ROLE, "Input": '{"fired": true}'},
        ActionAfterCompletion="DELETE",
    )
    (message,) = until(lambda: client("sqs").receive_message(QueueUrl=queue).get("Messages"))
    assert message["Body"] == '{"fired": true}'
    until(lambda: client("scheduler").list_schedules()["Schedules"] == [])


def test_a_stacks_schedule_has_the_zone_and_the_limits_of_the_template(client: ClientFactory) -> None:
    """Also after an update, and UTC again when the template has no zone."""
    stack, read = Stack(client, "zoned"), client("scheduler").get_schedule
    limits = {"StartDate": "2027-01-01T00:00:00Z", "EndDate": "2028-01-01T00:00:00Z"}
    template = in_stack("cron(0 3 * * ? *)", ScheduleExpressionTimezone="Europe/Berlin", **limits)
    assert stack.create(template) == "CREATE_COMPLETE", stack.reasons()
    made = read(Name="nightly")
    assert made["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert (made["StartDate"], made["EndDate"]) == (datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
    moved = in_stack("cron(0 3 * * ? *)", ScheduleExpressionTimezone="Asia/Tokyo")
    assert stack.update(moved) == "UPDATE_COMPLETE", stack.reasons()
    assert read(Name="nightly")["ScheduleExpressionTimezone"] == "Asia/Tokyo"
    assert "EndDate" not in read(Name="nightly")
    assert stack.update(in_stack("cron(0 3 * * ? *)")) == "UPDATE_COMPLETE", stack.reasons()
    assert read(Name="nightly")["ScheduleExpressionTimezone"] == "UTC"
    stack.delete()


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("cron(0 3 * * * *)", "UTC", r"Invalid Schedule Expression cron\(0 3"),
        ("every day", "UTC", "Invalid Schedule Expression every day"),
        ("at(2027-02-30T00:00:00)", "UTC", "Invalid Schedule Expression at"),
        ("rate(0 minutes)", "UTC", "Invalid Schedule Expression rate"),
        ("rate(1 hour)", "Europe/Bielefeld", "Europe/Bielefeld: it must be a name of the IANA"),
    ],
)
def test_a_schedule_that_nobody_can_read_is_refused(
    client: ClientFactory, expression: str, zone: str, words: str
) -> None:
    """By the API and by CloudFormation."""
    with pytest.raises(ClientError, match=rf"ValidationException.*{words}"):
        client("scheduler").create_schedule(
            Name="unreadable",
            ScheduleExpression=expression,
            ScheduleExpressionTimezone=zone,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": FUNCTION, "RoleArn": ROLE},
        )
    stack = Stack(client, "unreadable")
    assert stack.create(in_stack(expression, ScheduleExpressionTimezone=zone)) == "ROLLBACK_COMPLETE"
    assert expression in stack.reasons() or zone in stack.reasons()
    stack.delete()


def fires(expression: str, zone: str, made: datetime, *moments: datetime) -> list[datetime]:
    """At which of these moments a schedule fires that was made before."""
    schedule = {
        "State": "ENABLED",
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": zone,
        "CreationDate": made.timestamp(),
    }
    fired: list[datetime] = []
    for moment in moments:
        before = fired[-1].timestamp() if fired else None
        if is_due(schedule, fired=before, now=moment.timestamp()):
            fired.append(moment)
    return fired


def every(minutes: int, begin: datetime, hours: int) -> list[datetime]:
    """Moments at this distance."""
    return [begin + timedelta(minutes=minutes * count) for count in range(hours * 60 // minutes)]


def test_clocks_that_change_skip_a_time_or_count_it_once() -> None:
    """Berlin's clocks leave out 2:30 on 2027-03-28, and show it twice on 2027-10-31."""
    nightly = "cron(30 2 * * ? *)"
    spring = datetime(2027, 3, 27, 0, 0, tzinfo=UTC)
    assert fires(nightly, "Europe/Berlin", spring, *every(1, spring, 72)) == [
        datetime(2027, 3, 27, 1, 30, tzinfo=UTC),
        datetime(2027, 3, 29, 0, 30, tzinfo=UTC),
    ]
    autumn = datetime(2027, 10, 30, 2, 0, tzinfo=UTC)
    assert fires(nightly, "Europe/Berlin", autumn, *every(1, autumn, 48)) == [
        datetime(2027, 10, 31, 0, 30, tzinfo=UTC),
        datetime(2027, 11, 1, 1, 30, tzinfo=UTC),
    ]


def test_a_short_interval_goes_on_when_the_clocks_go_back() -> None:
    """It fires at most once a look, and never for the past."""
    begin = datetime(2027, 10, 30, 23, 55, tzinfo=UTC)
    fired = fires("cron(0/20 * * * ? *)", "Europe/Berlin", begin, *every(5, begin, 4))
    assert len(fired) == len(set(fired))
    assert fired[:3] == [datetime(2027, 10, 31, 0, minute, tzinfo=UTC) for minute in (0, 20, 40)]
    assert [moment for moment in fired if moment.hour == 1] == [], "the hour that the clocks show again"
    assert fired[3:6] == [datetime(2027, 10, 31, 2, minute, tzinfo=UTC) for minute in (0, 20, 40)]


def test_a_schedule_of_an_earlier_ones_name_fires_for_itself() -> None:
    made = datetime(2027, 1, 2, tzinfo=UTC).timestamp()
    schedule = {"State": "ENABLED", "ScheduleExpression": "at(2027-01-02T00:00:01)", "CreationDate": made}
    assert is_due(schedule, fired=made - 60, now=made + 2)
    assert not is_due(schedule, fired=made + 1, now=made + 2)


@pytest.mark.parametrize(
    ("members", "due"),
    [({}, True), ({"State": "DISABLED"}, False), ({"StartDate": 200.0}, False), ({"EndDate": 50.0}, False)],
)
def test_a_schedule_fires_while_it_is_on_and_within_its_limits(members: dict[str, Any], due: bool) -> None:
    schedule = {"State": "ENABLED", "ScheduleExpression": "rate(1 minute)", "CreationDate": 0.0, **members}
    assert is_due(schedule, fired=None, now=100.0) is due
