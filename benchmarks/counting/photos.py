"""Real photos with their counts, cut by blocks of ids, and written as the shards that the jobs read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.held_out import Mask, blocks_of
from shards import ShardWriter
from shards.lists import LIST, write_shard_list
from stacks.vocabulary import CLASSES


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
    """The photos of a folder, by labels.csv or else by their metadata, in the order of their ids."""
    found = sorted((int(photo), photo, count) for photo, count in _records(folder) if count in CLASSES)
    usable = [(photo, count) for _, photo, count in found if (folder / "bin-images" / f"{photo}.jpg").is_file()]
    if not usable:
        raise SystemExit(f"{folder} holds no photos with a count of {CLASSES[0]} to {CLASSES[-1]}")
    return Photos(folder, tuple(photo for photo, _ in usable), np.array([count for _, count in usable], dtype=np.int64))


def _records(folder: Path) -> Iterable[tuple[str, int]]:
    if (folder / "labels.csv").is_file():
        with (folder / "labels.csv").open() as file:
            yield from ((row["image_id"], int(row["count"])) for row in csv.DictReader(file))
        return
    for path in (folder / "metadata").glob("*.json"):
        yield path.stem, int(json.loads(path.read_bytes())["EXPECTED_QUANTITY"])
