"""What decides a run, what its machines have in common, and the errors that end it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.container import JobError

NO_LABELS: Final = "none"
NO_LISTING: Final = "none"


class IngestError(JobError):
    """The run failed; the message names the cure. Base of every error that ends an ingest."""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """The settings that decide the result; the number of machines and threads does not."""

    photos_uri: str
    labels_uri: str = NO_LABELS
    limit_per_class: int = 0
    seed: int = 0
    block_size: int = 100
    shard_photos: int = 0
    ignore_etags: bool = False
    listing: str = NO_LISTING


@dataclass(frozen=True, slots=True)
class JobMachine:
    """One of the machines of a job: its index of `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def read(cls, resource_config: Path) -> JobMachine:
        """Read a job's resourceconfig.json; without the file there is one machine."""
        if not resource_config.is_file():
            return cls()
        try:
            config = json.loads(resource_config.read_bytes())
            hosts = sorted(config["hosts"])
            return cls(hosts.index(config["current_host"]), len(hosts))
        except (ValueError, KeyError, TypeError) as error:
            raise IngestError(f"{resource_config} must name current_host and hosts: {error}") from error

    def parts(self) -> list[str]:
        """The names of the books of all machines, this one's at its index."""
        return [f"books-{index:02}-of-{self.count:02}.json" for index in range(self.count)]


@dataclass(frozen=True, slots=True)
class Expected:
    """Numbers of ids in the plan: of all, and of each split (`none` for blocks without one)."""

    listed: int
    per_split: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The head of every machine's books: all machines of a run compute the same without asking each other."""

    settings: Mapping[str, object]
    rule: str
    """Rule by which blocks went to splits."""
    blocks: Mapping[str, int]
    """Blocks in each split."""
    fingerprint: Mapping[str, str]
    """SHA-256 of the data as listed, and of the code."""
    plan: Expected
    """Of all machines."""
    units: tuple[str, ...]
    """The names of all shards that were planned."""


class Packed:
    """Base of frozen dataclasses with slots: pickled as a tuple of their fields, in half the time of the default."""

    __slots__: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type[Packed], tuple[object, ...]]:
        return type(self), tuple([getattr(self, name) for name in self.__slots__])
