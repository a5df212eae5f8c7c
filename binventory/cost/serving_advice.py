"""The cheapest way to serve at the traffic that the endpoint has, and the setting that takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from binventory.cost.amounts import money
from binventory.cost.prices import Prices
from binventory.cost.quantities import BilledEndpoint
from binventory.cost.serving_modes import modes
from binventory.cost.workload import DAYS_A_MONTH

# What is given up, or has to be set beside the mode.
_BESIDE: Final = {
    "realtime": "machines always run (serving.min_instances: 1 or more)",
    "serverless": "seconds for the first answer after a pause, and no data capture (serving.data_capture_percent: 0)",
    "async": "answers in S3, the first after minutes (serving.min_instances: 0, serving.data_capture_percent: 0)",
}
# Less is no reason to change how an endpoint answers.
_LEAST_DOLLARS: Final = 1.0
_LEAST_SHARE: Final = 0.1


@dataclass(frozen=True)
class ServingAdvice:
    """The configured mode and the cheapest one at a traffic, in dollars a month."""

    counts_a_day: float
    mode: str
    month: float
    best: str
    best_month: float

    @property
    def change(self) -> bool:
        """Whether the cheapest mode saves enough to be worth a change."""
        return self.month - self.best_month >= max(_LEAST_DOLLARS, _LEAST_SHARE * self.month)

    @property
    def compared(self) -> str:
        """For example `at 120 counts a day serverless costs $0.01 a month, realtime $83.95`."""
        traffic = f"at {self.counts_a_day:,.0f} counts a day"
        if not self.change:
            return f"{traffic} {self.mode} costs {money(self.month)} a month; no other mode is much cheaper"
        return f"{traffic} {self.best} costs {money(self.best_month)} a month, {self.mode} {money(self.month)}"

    def cure(self, environment: str) -> str:
        """The setting that takes the cheapest mode, and what comes with it; empty where nothing should change."""
        if not self.change:
            return ""
        return f"serving.mode: {self.best} in settings/{environment}.yaml, then deploy: {_BESIDE[self.best]}"


def advise(endpoint: BilledEndpoint, prices: Prices, counts_a_day: float) -> ServingAdvice | None:
    """Compares the modes at this traffic; None where the configured one has no price.

    A caller that gets its answer at once cannot wait for a queue, so `async` is compared only where it is configured.
    """
    comparable = [name for name in _BESIDE if name != "async" or endpoint.mode == "async"]
    months = {
        way.name: way.day(counts_a_day) * DAYS_A_MONTH
        for way in modes(endpoint, None, prices)
        if way.name in comparable
    }
    if endpoint.mode not in months:
        return None
    best = min(months, key=lambda name: (months[name], name != endpoint.mode))
    return ServingAdvice(counts_a_day, endpoint.mode, months[endpoint.mode], best, months[best])
