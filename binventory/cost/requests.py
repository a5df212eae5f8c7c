"""Dollars of S3 requests and EventBridge events: list prices of us-east-1, which hardly differ between regions."""

from __future__ import annotations

from typing import Final

_GET: Final = 0.0004 / 1000
_PUT_OR_LIST: Final = 0.005 / 1000
_EVENT: Final = 1.0 / 1_000_000


def s3_requests(*, gets: float = 0.0, puts: float = 0.0, lists: float = 0.0) -> float:
    """Dollars of so many GET, PUT and LIST requests."""
    return gets * _GET + (puts + lists) * _PUT_OR_LIST


def events(count: float) -> float:
    """Dollars of so many events put on an EventBridge bus."""
    return count * _EVENT
