"""The monthly budget, and when the endpoint is turned off to save money."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator

from stacks.settings.section import Section, distinct, matching, wrong_setting

# The characters that HTML's email field takes: what SNS and Budgets take, and no list in one text.
_LOCAL, _LABEL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+", r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
Email = Annotated[
    str, matching(rf"{_LOCAL}@({_LABEL}\.)+{_LABEL}", "one address, such as ops@example.com", longest=254)
]
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
"""In cron's order: for AWS a week begins on Sunday."""
# What a machine's own list of time zones has beside the names of the IANA database, which AWS knows.
_NO_ZONES: Final = ("Factory", "localtime", "posixrules")
_OTHER_LISTS: Final = ("posix/", "right/")
_LEAST_IDLE_HOURS = 0.01
Clock = Annotated[str, matching(r"([01]\d|2[0-3]):[0-5]\d", "a time of day from 00:00 to 23:59, such as 07:00")]


class ServingHours(Section):
    """Hours in which the endpoint is on. Outside them it is off and does not bill."""

    days: str
    """Days and ranges of days in cron's notation: `MON-FRI`, or `MON,WED,FRI-SAT`. A week begins on `SUN`."""
    start: Clock
    """For example `07:00`."""
    end: Clock
    """For example `19:00`."""
    time_zone: str
    """For example `Europe/Berlin`."""

    @field_validator("days")
    @classmethod
    def _in_cron(cls, value: str) -> str:
        for part in value.split(","):
            ends = part.split("-")
            if len(ends) > 2 or not set(ends) <= set(_DAYS):
                raise wrong_setting(
                    "must be days of {days} and ranges of two of them, such as MON-FRI or MON,WED,FRI-SAT; "
                    "{part} is neither",
                    days=", ".join(_DAYS),
                    part=repr(part),
                )
            first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
            if len(ends) == 2 and first >= last:
                # AWS documents no range beyond the end of the week: by its numbers, SUN is 1 and SAT is 7.
                listed = [ends[0]] if first == last else [*_DAYS[first:], *_DAYS[: last + 1]]
                raise wrong_setting(
                    "has the range {part} that does not go from an earlier to a later day, since for AWS a week is "
                    "SUN to SAT: list its days, {listed}",
                    part=part,
                    listed=",".join(listed),
                )
        return value

    @field_validator("end")
    @classmethod
    def _after_the_start(cls, value: str, info: ValidationInfo) -> str:
        if value <= info.data.get("start", ""):
            raise wrong_setting("must be later than start ({start})", start=info.data["start"])
        return value

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        known = value in zoneinfo.available_timezones() and value not in _NO_ZONES
        if not known or value.startswith(_OTHER_LISTS):
            raise wrong_setting("must be a time zone such as UTC or Europe/Berlin")
        return value


class MoneySettings(Section):
    """The monthly budget, and when the endpoint is turned off to save money."""

    monthly_budget_usd: float = Field(gt=0, le=1_000_000)
    """Monthly budget. Alerts are sent at 50, 80 and 100%, and when the forecast exceeds it."""
    alert_emails: tuple[Email, ...] = Field(default=(), max_length=10)
    """Recipients of alerts. Each has to confirm the subscription. Empty: nobody hears of any."""
    guard_percent: int = Field(ge=0, le=1000)
    """Share of the budget, in percent, at which the endpoint is turned off and executions are stopped; 0: never."""
    idle_hours: float = Field(ge=0, le=14 * 24)
    """Hours without invocations after which the endpoint is turned off; 0: never, else at least 0.01."""
    serving_hours: ServingHours | None = None
    anomaly_usd: float | None = Field(default=None, ge=0.01, le=1_000_000)
    """Unusual cost from which AWS Cost Anomaly Detection sends an alert; absent: it is not used."""

    @field_validator("alert_emails")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(value, "an address")

    @field_validator("idle_hours")
    @classmethod
    def _not_next_to_nothing(cls, value: float) -> float:
        if 0 < value < _LEAST_IDLE_HOURS:
            raise wrong_setting(
                "must be 0 (never) or at least {least}: invocations are counted by the minute", least=_LEAST_IDLE_HOURS
            )
        return value
