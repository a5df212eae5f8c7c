"""Photos of the shards as a source of training batches: decoded and augmented on threads, ahead of the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitting.sampling import StepPlan
from jobs.container import JobError
from jobs.corrupt_share import exceeds
from photo import PhotoError, Preprocessing
from photos.augmentation import Augmentation
from photos.batches import photo_view, read_ahead
from shards import ShardError, ShardIndex, list_shards
from shards.lists import ShardLists

Decoded = tuple[NDArray[np.uint8], int] | None


class PhotoSource:
    """Batches of photos uint8 [n, S, S, 3] and counts [n] of one split.

    A shard that is damaged is left out whole, an unreadable photo is left out of its batch, both with a warning; more
    than `max_corrupt_share` of either ends the run.
    """

    def __init__(
        self, folder: Path, preprocessing: Preprocessing, augmentation: Augmentation, *, seed: int, threads: int,
        max_corrupt_share: float,
    ) -> None:  # fmt: skip
        self._index = _open_shards(folder, max_corrupt_share)
        lists = ShardLists()
        self.digest = " ".join(lists.of(path).sha256 for path in self._index.paths)
        """Of the shards that are read."""
        self.ids: Sequence[str] = self._index.ids
        self.counts = torch.tensor(self._index.counts, dtype=torch.int64)
        self._preprocessing = preprocessing
        self._augmentation = augmentation
        self._seed = seed
        self._threads = threads
        self._max_corrupt_share = max_corrupt_share
        self._unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, plans: Sequence[StepPlan], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented inputs and counts of each planned step; view `epoch + 1` of every photo."""
        sizes = [sum(len(lane) for lane in plan.rows) for plan in plans]
        rows = (row for plan in plans for lane in plan.rows for row in lane)
        yield from self._batched(rows, sizes, view=epoch + 1)

    def in_order(self, rows: range, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The photos themselves (view 0) of some rows, in batches of at most 64 whatever `size` says."""
        size = min(size, 64)
        sizes = [min(size, len(rows) - start) for start in range(0, len(rows), size)]
        yield from self._batched(iter(rows), sizes, view=0)

    def _batched(self, rows: Iterator[int], sizes: list[int], view: int) -> Iterator[tuple[Tensor, Tensor]]:
        ahead = max(2 * max(sizes, default=1), 2 * self._threads)
        decoded = read_ahead(lambda row: self._decode(row, view), rows, threads=self._threads, ahead=ahead)
        for size in sizes:
            batch = [item for item in (next(decoded) for _ in range(size)) if item is not None]
            side = self._preprocessing.crop
            photos = np.stack([photo for photo, _ in batch]) if batch else np.zeros((0, side, side, 3), np.uint8)
            yield torch.from_numpy(photos), torch.tensor([count for _, count in batch], dtype=torch.int64)

    def _decode(self, row: int, view: int) -> Decoded:
        try:
            sample = self._index[row]
            return photo_view(sample, view, self._seed, self._preprocessing, self._augmentation), sample.count
        except (PhotoError, ShardError) as error:
            self._leave_out(self.ids[row], str(error))
            return None

    def _leave_out(self, photo: str, reason: str) -> None:
        if photo not in self._unreadable:
            self._unreadable[photo] = reason
            print(f"warning: photo {photo} left out: {reason}", file=sys.stderr, flush=True)
        if exceeds(len(self._unreadable), len(self.ids), self._max_corrupt_share):
            raise JobError(
                f"{len(self._unreadable)} of {len(self.ids)} photos cannot be read, more than max-corrupt-share "
                f"allows; the last is {photo}: {reason}"
            )


def _open_shards(folder: Path, max_corrupt_share: float) -> ShardIndex:
    try:
        paths = list_shards(folder)
    except ShardError as error:
        raise JobError(f"split is empty or cannot be used: {error}") from error
    good, damaged = [], {}
    for path in paths:
        try:
            ShardIndex([path])
            good.append(path)
        except ShardError as error:
            damaged[path.name] = str(error)
            print(f"warning: shard {path.name} left out: {error}", file=sys.stderr, flush=True)
    if exceeds(len(damaged), len(paths), max_corrupt_share):
        name, reason = next(iter(damaged.items()))
        raise JobError(
            f"{len(damaged)} of {len(paths)} shards in {folder} are damaged, more than max-corrupt-share allows; "
            f"the first is {name}: {reason}"
        )
    index = ShardIndex(good)
    if not len(index):
        raise JobError(f"the shards in {folder} hold no photos; ingest them again")
    return index
