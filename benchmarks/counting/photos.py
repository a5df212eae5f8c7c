"""Real photos with their counts, cut by blocks of ids, and written as the shards that the jobs read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.held_out import Mask, blocks_of
from binventory.records.errors import RecordError
from binventory.records.labels import read_labels
from binventory.records.metadata import read_metadata
from shards import ShardWriter
from shards.lists import LIST, write_shard_list
from stacks.vocabulary import CLASSES

CACHE: Final = Path.home() / ".cache" / "binventory" / "accuracy"
"""Where benchmarks keep features and models by default."""


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos of a folder laid out like the public bucket, those with a count that is learnt."""

    folder: Path
    ids: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def blocks(self) -> NDArray[np.int64]:
        """[n] block of each photo."""
        return blocks_of(self.ids)

    def first_blocks(self, photos: int) -> Photos:
        """Whole blocks from the start, until there are as many photos."""
        blocks = self.blocks
        last = blocks[min(photos, len(blocks)) - 1]
        rows = np.flatnonzero(blocks <= last)
        return Photos(self.folder, tuple(self.ids[row] for row in rows), self.counts[rows])

    def cache(self, parent: Path, kind: str = "whole") -> Path:
        """The folder below `parent` of results with exactly these photos."""
        of = [str(self.folder.resolve()), kind, *self.ids]
        return parent / hashlib.sha256(" ".join(of).encode()).hexdigest()[:16]

    def write(self, chosen: Mask, folder: Path) -> Path:
        """The chosen photos as one shard; what lies there already is left."""
        if (folder / LIST).is_file():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        writer = ShardWriter(folder / f"{folder.name}-00000.tar")
        for row in np.flatnonzero(chosen):
            photo, count = self.ids[row], int(self.counts[row])
            data = (self.folder / "bin-images" / f"{photo}.jpg").read_bytes()
            writer.add(photo, data, {"id": photo, "count": count, "items": []})
        write_shard_list(folder, [writer.close()])
        return folder


def read(folder: Path) -> Photos:
    """The photos of a folder, by labels.csv or else by their metadata, in the order of their ids.

    A photo whose record cannot be used is left out, as Ingest leaves it out. Raises SystemExit where none is left.
    """
    # Blocks are cut by number.
    found = sorted((int(id_), id_, count) for id_, count in _records(folder) if count in CLASSES and id_.isdecimal())
    usable = [(photo, count) for _, photo, count in found if (folder / "bin-images" / f"{photo}.jpg").is_file()]
    if not usable:
        raise SystemExit(f"{folder} holds no photos with a count of {CLASSES[0]} to {CLASSES[-1]}")
    return Photos(folder, tuple(photo for photo, _ in usable), np.array([count for _, count in usable], dtype=np.int64))


def _records(folder: Path) -> Iterable[tuple[str, int]]:
    labels = folder / "labels.csv"
    if labels.is_file():
        by_id = read_labels(labels.read_bytes(), labels.name).by_id
        yield from ((image_id, label.count) for image_id, label in by_id.items() if label.count is not None)
        return
    for path in (folder / "metadata").glob("*.json"):
        with contextlib.suppress(RecordError):
            yield path.stem, read_metadata(path.stem, path.read_bytes()).recorded
