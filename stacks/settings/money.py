"""The monthly budget, and when the endpoint is turned off to save money."""

from __future__ import annotations

import zoneinfo
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from stacks.settings.section import Section, wrong_setting

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
_DAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"
_LEAST_IDLE_HOURS = 0.01
_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


class ServingHours(Section):
    """Hours in which the endpoint is on. Outside them it is off and does not bill."""

    days: Annotated[str, StringConstraints(pattern=rf"^{_DAY}([-,]{_DAY})*$")]
    """Days in cron's notation, for example `MON-FRI`."""
    start: Annotated[str, StringConstraints(pattern=_CLOCK)]
    """For example `07:00`."""
    end: Annotated[str, StringConstraints(pattern=_CLOCK)]
    """For example `19:00`."""
    time_zone: str
    """For example `Europe/Berlin`."""

    @field_validator("end")
    @classmethod
    def _after_the_start(cls, value: str, info: ValidationInfo) -> str:
        if value <= info.data.get("start", ""):
            raise wrong_setting("must be later than start ({start})", start=info.data["start"])
        return value

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise wrong_setting("must be a time zone such as UTC or Europe/Berlin")
        return value


class MoneySettings(Section):
    """The monthly budget, and when the endpoint is turned off to save money."""

    monthly_budget_usd: float = Field(gt=0, le=1_000_000)
    """Monthly budget. Alerts are sent at 50, 80 and 100%, and when the forecast exceeds it."""
    alert_emails: tuple[Email, ...] = Field(default=(), max_length=10)
    """Recipients of alerts. Each has to confirm the subscription."""
    guard_percent: int = Field(ge=0, le=1000)
    """Share of the budget, in percent, at which the endpoint is turned off and executions are stopped; 0: never."""
    idle_hours: float = Field(ge=0, le=14 * 24)
    """Hours without invocations after which the endpoint is turned off; 0: never, else at least 0.01."""
    serving_hours: ServingHours | None = None
    anomaly_usd: float | None = Field(default=None, gt=0)
    """Unusual cost from which AWS Cost Anomaly Detection sends an alert; absent: it is not used."""

    @field_validator("idle_hours")
    @classmethod
    def _not_next_to_nothing(cls, value: float) -> float:
        if 0 < value < _LEAST_IDLE_HOURS:
            raise wrong_setting(
                "must be 0 (never) or at least {least}: invocations are counted by the minute", least=_LEAST_IDLE_HOURS
            )
        return value
