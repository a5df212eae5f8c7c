"""One row for every id: kept in a shard, or set aside with its reason. The report is made of these rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ingestion.intake import SourcePhoto

Fate = Literal["skipped", "quarantined"]
SKIPPED: Final = "skipped"
QUARANTINED: Final = "quarantined"
NO_SPLIT: Final = "none"


@dataclass(frozen=True, slots=True)
class Kept:
    """A photo that is in a shard."""

    id: str
    count: int
    label_source: str
    """`metadata`, or the label_source of the labels file."""
    items: tuple[str, ...]
    block: str
    split: str
    rule: str
    """Rule that chose the split, as in `BlockSplit`."""
    fingerprint: str
    """Of the data, settings and code from which the shard was made, as in its mark; the first 16 of 64 digits."""
    shard: str
    offset: int
    """Of the photo in the shard, in bytes."""
    size: int
    sha256: str
    """Of the photo's bytes in the shard."""
    width: int
    """Of the photo in the shard, upright, in pixels."""
    height: int
    source: SourcePhoto


@dataclass(frozen=True, slots=True)
class SetAside:
    """An id that is in no shard, and the reason."""

    id: str
    fate: Fate
    reason: str
    detail: str
    block: str
    split: str = NO_SPLIT
    count: int | None = None
    """Recorded quantity; None where none was read."""
    items: tuple[str, ...] = ()


Row = Kept | SetAside


def to_line(row: Row) -> bytes:
    """One JSON line, the same bytes for the same row."""
    return _JSON.encode(row).encode() + b"\n"


def _fields(value: Kept | SetAside | SourcePhoto) -> dict[str, object]:
    # Half the time of dataclasses.asdict, which copies every value; there are half a million rows.
    return {name: getattr(value, name) for name in value.__slots__}


_JSON: Final = json.JSONEncoder(default=_fields, sort_keys=True, separators=(",", ":"))


def read_kept(path: Path) -> Iterator[Kept]:
    """The rows of a manifest file, in order; none where there is no file, since one without rows is not written."""
    for record in _lines(path):
        record["items"] = tuple(record["items"])
        record["source"] = SourcePhoto(**record["source"])
        yield Kept(**record)


def read_set_aside(path: Path) -> Iterator[SetAside]:
    """The rows of a quarantine or skipped file, in order; none where there is no file."""
    for record in _lines(path):
        record["items"] = tuple(record["items"])
        yield SetAside(**record)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open("rb") as stream:
            for line in stream:
                yield json.loads(line)
