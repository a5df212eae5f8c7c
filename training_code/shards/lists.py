"""The list of a split's shards, `digests.json` beside them, with the digests by which readers check them.

It is written after all shards, so a folder without it is unfinished. Every reader of shards starts from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from digests import DamagedFile, read_sealed, seal, sha256_of

LIST: Final = "digests.json"
NOT_SEALED: Final = "none"
"""In place of what was sealed: the shards are held to their own list only."""
SHARD_SUFFIX: Final = ".tar"


class ShardError(ValueError):
    """A shard is missing, damaged or malformed; the message names the file and the cure."""


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """The entry of a finished shard in the list."""

    name: str
    samples: int
    size: int
    """Bytes on disk."""
    sha256: str
    records: str
    """SHA-256 of all records in their order. Each holds its photo's digest, so this covers every sample."""


def write_shard_list(folder: Path, shards: Iterable[ShardSummary], *, split_by: str = "") -> None:
    """Write the list of all shards of a folder, atomically. `split_by`: what put the photos into this split."""
    listed = [asdict(shard) for shard in sorted(shards, key=lambda shard: shard.name)]
    document = {"shards": listed, "split_by": split_by}
    part = folder / (LIST + ".part")
    part.write_bytes(seal(document))
    os.replace(part, folder / LIST)


def read_shard_list(folder: Path) -> dict[str, ShardSummary]:
    """The shards of a folder by name. Raises ShardError where the list is missing or damaged."""
    try:
        shards = [ShardSummary(**entry) for entry in _read(folder)["shards"]]
    except (KeyError, TypeError) as error:
        raise _unusable(folder, error) from error
    return {shard.name: shard for shard in shards}


def read_split_by(folder: Path) -> str:
    """What put the photos into their splits; empty where the list does not say, or where subfolders have one each."""
    if not (folder / LIST).is_file():
        return ""
    return str(_read(folder).get("split_by", ""))


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_sealed(folder / LIST)
    except FileNotFoundError as error:
        raise ShardError(
            f"{folder} has no {LIST}, by which its shards are checked: ingest has not finished there; run it again, "
            "or ingest.py --merge where several machines wrote into different folders"
        ) from error
    except (OSError, DamagedFile) as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: Exception) -> ShardError:
    return ShardError(f"the list of shards in {folder} cannot be used: {error}; ingest again")


def list_shards(folder: str | Path) -> list[Path]:
    """Paths of all shards in the lists of a folder and its subfolders, sorted; the files need not exist.

    Raises ShardError when there is none, and for a shard that is in no list.
    """
    found = set(Path(folder).rglob("*" + SHARD_SUFFIX))
    lists = {path.parent for path in (*found, *Path(folder).rglob(LIST))}
    named = {place / name for place in lists for name in read_shard_list(place)}
    if foreign := sorted(found - named):
        raise ShardError(f"{foreign[0]} is not in the list {LIST} beside it; remove it, or ingest again")
    if not named:
        raise ShardError(f"{folder} holds no {SHARD_SUFFIX} shard; run ingest first, or point at its output")
    return sorted(named)


def check_sealed(split: str, folder: Path, sealed: str) -> None:
    """Hold the lists of a split's folder to what the step Seal has recorded, and with them all its shards.

    Args:
        sealed: `train=<SHA-256 of the list>,...` as the step returns it, or `NOT_SEALED`.

    Raises:
        ShardError: the folder has another list, or more lists.
    """
    if sealed == NOT_SEALED:
        return
    recorded = dict(entry.partition("=")[::2] for entry in sealed.split(","))
    if split not in recorded:
        raise ShardError(f"split {split!r} was not sealed: sealed names {', '.join(sorted(recorded))} only")
    found = {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob(LIST)}
    if found != {LIST: recorded[split]}:
        what = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(found.items())) or "none"
        raise ShardError(
            f"the shards of split {split!r} in {folder} are not those that Ingest left: its list has the digest "
            f"{recorded[split][:12]}, found were {what}. Find out who wrote there, then train with --fresh"
        )


class ShardLists:
    """Looks up a shard's entry in the list beside it; reads each list once."""

    def __init__(self) -> None:
        self._lists: dict[Path, dict[str, ShardSummary]] = {}

    def of(self, shard: Path) -> ShardSummary:
        """The shard's entry. Raises ShardError where it has none."""
        if shard.parent not in self._lists:
            self._lists[shard.parent] = read_shard_list(shard.parent)
        entry = self._lists[shard.parent].get(shard.name)
        if entry is None:
            raise ShardError(f"{shard} is not in the list {LIST} beside it; remove it, or ingest again")
        return entry
