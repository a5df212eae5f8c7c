"""What of the shards could not be read, and whether a job may end well without it."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.container import JobError


class Quarantine:
    """Counts what could not be read, and ends the job when it is more than the settings allow."""

    def __init__(self, max_share: float) -> None:
        self.max_share = max_share
        self.photos: dict[str, str] = {}
        self.shards: dict[str, str] = {}
        self.read = 0

    def add_photo(self, photo: str, reason: str) -> None:
        """Leave a photo out, with a warning."""
        self.photos[photo] = reason
        print(f"warning: photo {photo} left out: {reason}", file=sys.stderr, flush=True)

    def add_shard(self, shard: Path, reason: str) -> None:
        """Leave the rest of a shard out, with a warning."""
        self.shards[shard.name] = reason
        print(f"warning: shard {shard.name} left out from its damage on: {reason}", file=sys.stderr, flush=True)

    def check(self, shards: int) -> None:
        """Raise JobError when more than the allowed share of photos or shards is unreadable."""
        for kind, bad, total in (("photos", self.photos, self.read), ("shards", self.shards, shards)):
            if len(bad) > self.max_share * total:
                name, reason = next(iter(bad.items()))
                raise JobError(
                    f"{len(bad)} of {total} {kind} cannot be read, more than max-corrupt-share {self.max_share:g} "
                    f"allows; the first is {name}: {reason}"
                )
