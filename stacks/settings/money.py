"""The cap on what the environment may cost, and what is turned off when nobody uses it."""

from __future__ import annotations

import zoneinfo
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from stacks.settings.section import Section, wrong_setting

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
_DAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"
_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


class ServingHours(Section):
    """When the endpoint is on; outside it is off and does not bill."""

    days: Annotated[str, StringConstraints(pattern=rf"^{_DAY}([-,]{_DAY})*$")]
    """As cron writes them, for example `MON-FRI`."""
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
    """The cap on what the environment may cost, and what is turned off when nobody uses it."""

    monthly_budget_usd: float = Field(gt=0, le=1_000_000)
    """Alerts go out at 50, 80 and 100% of it, and when it is forecast to be exceeded."""
    alert_emails: tuple[Email, ...] = Field(default=(), max_length=10)
    """Who is told by mail; each has to confirm the subscription."""
    guard_percent: int = Field(ge=0, le=1000)
    """Share of the budget at which the endpoint is turned off and executions are stopped; 0: never."""
    idle_hours: float = Field(ge=0, le=14 * 24)
    """Time without invocations after which the endpoint is turned off; 0: never."""
    serving_hours: ServingHours | None = None
    anomaly_usd: float | None = Field(default=None, gt=0)
    """Unusual cost that is worth a message; absent: AWS Cost Anomaly Detection is not used."""
