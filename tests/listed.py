"""Lists of shards for tests that write shards themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from digests import sha256_of
from shards import ShardSummary, ShardWriter
from shards.lists import LIST, read_shard_list, write_shard_list


def enlist(folder: Path, *summaries: ShardSummary) -> None:
    """Add shards to the list of their folder."""
    before = read_shard_list(folder) if (folder / LIST).exists() else {}
    write_shard_list(folder, {**before, **{summary.name: summary for summary in summaries}}.values())


def enlist_as_it_is(path: Path, *, samples: int = 1, records: str = "") -> None:
    """Add a file that ShardWriter did not write, as if it were a shard."""
    enlist(path.parent, ShardSummary(path.name, samples, path.stat().st_size, sha256_of(path), records))


def write_shard(path: Path, samples: Iterable[tuple[str, bytes, Mapping[str, Any]]]) -> None:
    """Write one shard of (id, photo, record) and add it to its folder's list."""
    writer = ShardWriter(path)
    for sample_id, photo, record in samples:
        writer.add(sample_id, photo, dict(record))
    enlist(path.parent, writer.close())
