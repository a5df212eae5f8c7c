"""Estimates how long an audit takes and what it costs, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from binventory.cost import prices

_LISTED_AT_ONCE: Final = 1000
# Seconds that one instance of the default type needs for one photo at any concurrency: an upper bound of what
# benchmarks/serving.py measures.
SECONDS_PER_PHOTO: Final = 0.05


@dataclass(frozen=True)
class Plan:
    """The work ahead."""

    bins: int
    asks_endpoint: bool
    from_s3: bool
    rate: float | None
    """Most requests a second, if limited."""
    price_per_hour: float | None
    """Of the endpoint's instance, dollars; it bills while it is on, used or not. None: the price table has none."""
    events: int = 0
    """Most events that can be sent."""

    @property
    def seconds(self) -> float:
        """Expected duration."""
        if not self.asks_endpoint:
            return 0.0
        return self.bins * max(SECONDS_PER_PHOTO, 1 / self.rate if self.rate else 0.0)

    @property
    def dollars(self) -> float | None:
        """Expected cost: the endpoint's time, S3 requests, events. None where the endpoint's price is not known."""
        if self.asks_endpoint and self.price_per_hour is None:
            return None
        endpoint = self.seconds / 3600 * (self.price_per_hour or 0.0) if self.asks_endpoint else 0.0
        read = 0.0
        if self.from_s3:
            photos = self.bins if self.asks_endpoint else 0
            read = prices.s3_requests(gets=self.bins + photos, lists=self.bins / _LISTED_AT_ONCE)
        return endpoint + read + prices.events(self.events)
