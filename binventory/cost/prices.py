"""The price table by region, with date and source.

A price that a region lacks is estimated from its EC2 prices, and marked as an estimate; without them it is an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from binventory.core.errors import Exit, Problem
from binventory.cost.estimating import EstimatedPrice, estimate
from binventory.cost.machines import machine

TABLE = Path(__file__).with_name("prices.json")
MAX_AGE_DAYS = 180
_REFERENCE = "us-east-1"
# List prices of us-east-1, a request or an event; they hardly differ between regions.
_GET = 0.0004 / 1000
_PUT_OR_LIST = 0.005 / 1000
_EVENT = 1.0 / 1_000_000


@dataclass(frozen=True)
class Prices:
    """The prices of one region in dollars, and when they were read."""

    region: str
    read: date
    source: str
    _values: dict[str, Any] = field(repr=False)
    _reference: dict[str, Any] = field(default_factory=dict, repr=False)
    """The values of us-east-1, from which prices of other regions are estimated; empty for us-east-1 itself."""

    def instance_hour(self, instance_type: str) -> float:
        """On-demand price of an ml.* instance for an hour; AWS lists the same for jobs and endpoints."""
        return self._look("instance_hour", instance_type)

    def ec2_hour(self, instance_type: str) -> float:
        """On-demand price of an EC2 instance for an hour, without what `credits_hour` adds to it."""
        return self._look("ec2_hour", instance_type)

    def credits_hour(self, instance_type: str) -> float:
        """Dollars of the CPU credits that an EC2 instance needs for an hour of full load; 0 for all but T3.

        A machine that works from its start to its end has earned no credits before. AWS charges as much on spot.
        """
        return machine(instance_type).credit_vcpus * self.unit("cpu_credit_vcpu_hour")

    def unit(self, name: str) -> float:
        """A price that is not by instance type, such as `s3_gb_month`."""
        value = self._values.get(name)
        if isinstance(value, int | float):
            return float(value)
        return self._estimate("", name).dollars

    def has_instance(self, instance_type: str) -> bool:
        """Whether an instance type has a price, read or estimated."""
        try:
            self.instance_hour(instance_type)
        except Problem:
            return False
        return True

    def estimated(self, name: str) -> str:
        """How the price of an instance type or unit was estimated; "" for one that was read, and without one."""
        if said := self._values.get("estimated", {}).get(name):
            return str(said)
        group = "instance_hour" if name.startswith("ml.") else "ec2_hour" if "." in name else ""
        if name in (self._values.get(group, {}) if group else self._values):
            return ""
        found = estimate(self._values, self._reference, group, name)
        return found.how if found else ""

    def warning(self, today: date) -> str:
        """A warning when prices are older than `MAX_AGE_DAYS`; "" otherwise."""
        stale = sorted(name for name, read in self._kept.items() if (today - read).days > MAX_AGE_DAYS)
        cure = f"renew them with binventory cost --refresh --region {self.region}"
        if (today - self.read).days > MAX_AGE_DAYS:
            return f"The prices of {self.region} were read {(today - self.read).days} days ago ({self.read}): {cure}."
        if stale:
            return f"The last refresh of {self.region} did not find {', '.join(stale)}; those prices are older: {cure}."
        return ""

    @property
    def _kept(self) -> dict[str, date]:
        return {name: date.fromisoformat(text) for name, text in self._values.get("kept", {}).items()}

    def _look(self, group: str, name: str) -> float:
        value = self._values.get(group, {}).get(name)
        return self._estimate(group, name).dollars if value is None else float(value)

    def _estimate(self, group: str, name: str) -> EstimatedPrice:
        found = estimate(self._values, self._reference, group, name)
        if found is None:
            raise self._missing(name)
        return found

    def _missing(self, name: str) -> Problem:
        return Problem(
            f"There is no price for {name} in {self.region}",
            f"the table read on {self.read} does not hold it",
            f"renew the table with credentials for AWS: binventory cost --refresh --region {self.region}",
            code=Exit.NOT_READY,
        )


@cache
def load(region: str, table: Path = TABLE) -> Prices:
    """The prices of a region."""
    document = json.loads(table.read_text())
    values = document["regions"].get(region)
    if values is None:
        known = ", ".join(sorted(document["regions"]))
        raise Problem(
            f"There are no prices for the region {region}",
            f"the table holds {known}",
            f"read them with credentials for AWS: binventory cost --refresh --region {region}",
            code=Exit.NOT_READY,
        )
    reference = {} if region == _REFERENCE else document["regions"].get(_REFERENCE, {})
    every = {**document["everywhere"], **values}
    return Prices(region, date.fromisoformat(values["read"]), values["source"], every, reference)


def known(region: str) -> Prices | None:
    """The prices of a region; None where the table holds none."""
    try:
        return load(region)
    except Problem:
        return None


def s3_requests(*, gets: float = 0.0, puts: float = 0.0, lists: float = 0.0) -> float:
    """Dollars of so many GET, PUT and LIST requests."""
    return gets * _GET + (puts + lists) * _PUT_OR_LIST


def events(count: float) -> float:
    """Dollars of so many events put on an EventBridge bus."""
    return count * _EVENT
