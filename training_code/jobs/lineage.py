"""Fingerprints by which a model can be traced to the photos and the code it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class LabelledIds(Protocol):
    """The ids and counts of one split, in the same order."""

    @property
    def ids(self) -> list[str]:
        """Image ids."""

    @property
    def counts(self) -> list[int]:
        """Recorded quantities."""


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
