"""How many photos an execution will read, as far as that is known before it starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownPhotos:
    """What is known of the number of photos before a start."""

    number: int | None = None
    """All photos that there are; None where that is not known."""
    least: int = 0
    """Photos that were seen, where there are more."""


UNKNOWN_PHOTOS = KnownPhotos()
