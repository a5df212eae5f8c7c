"""Where a model comes from: fingerprints of its photos and its code, and splits that share no photo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jobs.container import JobError


class LabelledIds(Protocol):
    """The ids and counts of one split, in the same order."""

    @property
    def ids(self) -> list[str]:
        """Image ids."""

    @property
    def counts(self) -> list[int]:
        """Recorded quantities."""


def require_disjoint(ids: Mapping[str, Sequence[str]]) -> None:
    """Raise JobError where a photo is in two splits: a model would be chosen or judged by what it has learnt.

    `ids` has those of each split, by its name.
    """
    split_of: dict[str, str] = {}
    for name, split in ids.items():
        if shared := sorted(split_of.keys() & set(split)):
            raise JobError(
                f"{len(shared)} of {len(split)} photos of split {name} are in split {split_of[shared[0]]} too, such as "
                f"{shared[0]}: give each split the folder that the same ingest wrote for it"
            )
        split_of |= dict.fromkeys(split, name)


def data_fingerprint(splits: Mapping[str, LabelledIds]) -> str:
    """SHA-256 of every photo's id, count and split; order and shards do not matter."""
    digest = hashlib.sha256()
    for name, split in sorted(splits.items()):
        digest.update(f"{name}\n".encode())
        for image_id, count in sorted(zip(split.ids, split.counts, strict=True)):
            digest.update(f"{image_id},{count}\n".encode())
    return digest.hexdigest()


def code_fingerprint(folder: Path = Path(__file__).parents[1]) -> str:
    """SHA-256 of the run-time code around this package: names and contents of its sources."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()
