"""Unreadable photos and shards, and whether a job may succeed without them."""

from __future__ import annotations

import sys

from features.files import LeftOut, Part
from jobs.container import JobError
from jobs.corrupt_share import exceeds


class Quarantine:
    """Counts what could not be read, and ends the job when it is more than the settings allow.

    It is counted from all files of features that this machine answers for, the kept ones of earlier attempts among
    them, so every attempt comes to the same end.
    """

    def __init__(self, max_share: float) -> None:
        self.max_share = max_share
        self.photos: dict[str, str] = {}
        self._bad_shards: dict[tuple[str, str], str] = {}
        self._read: set[str] = set()
        self._shards: set[tuple[str, str]] = set()

    @property
    def read(self) -> int:
        """Photos that were to be read, each once however many views it has."""
        return len(self._read)

    @property
    def shards(self) -> dict[str, str]:
        """The shards that could not be read, by their names, with the reason."""
        return {f"{name}.tar": reason for (_, name), reason in self._bad_shards.items()}

    def add(self, part: Part, ids: tuple[str, ...], left_out: LeftOut) -> None:
        """Count one file: the photos it holds and what is left out of it."""
        shard = part.split, part.shard
        self._shards.add(shard)
        self._read.update((*ids, *left_out.photos))
        for photo, reason in left_out.photos.items():
            if photo not in self.photos:
                print(f"warning: photo {photo} left out: {reason}", file=sys.stderr, flush=True)
            self.photos[photo] = reason
        if left_out.shard:
            if shard not in self._bad_shards:
                print(f"warning: shard {part.shard}.tar left out: {left_out.shard}", file=sys.stderr, flush=True)
            self._bad_shards[shard] = left_out.shard

    def check(self) -> None:
        """Raise JobError when more than the allowed share of photos or shards is unreadable."""
        self._check("photos", list(self.photos.items()), self.read)
        shards = [(f"{name}.tar", reason) for (_, name), reason in self._bad_shards.items()]
        self._check("shards", shards, len(self._shards))

    def _check(self, kind: str, bad: list[tuple[str, str]], total: int) -> None:
        if exceeds(len(bad), total, self.max_share):
            name, reason = bad[0]
            raise JobError(
                f"{len(bad)} of {total} {kind} cannot be read, more than max-corrupt-share {self.max_share:g} "
                f"allows; the first is {name}: {reason}"
            )
