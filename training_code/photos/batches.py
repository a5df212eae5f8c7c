"""Photos of a shard as batches of pixels, decoded ahead of the network by a few threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from photo import Preprocessing, open_photo, prepare
from photos.augmentation import Augmentation, augment, view_random
from shards import Sample

Pixels = NDArray[np.uint8]
In = TypeVar("In")
Out = TypeVar("Out")


def photo_view(
    sample: Sample, view: int, seed: int, preprocessing: Preprocessing, augmentation: Augmentation
) -> Pixels:
    """One view of a sample, uint8 RGB [crop, crop, 3]: view 0 as served, any other augmented. Raises PhotoError."""
    if view == 0:
        return prepare(sample.photo, preprocessing)
    random = view_random(seed, sample.id, view)
    return augment(open_photo(sample.photo), preprocessing.crop, random, augmentation)


def read_ahead(work: Callable[[In], Out], items: Iterable[In], *, threads: int, ahead: int) -> Iterator[Out]:
    """`work` applied to each item on threads, answers in order, at most `ahead` items under way.

    An exception of `work` is raised when its item's turn comes.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Out]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def stacked(photos: Iterable[Pixels], size: int) -> Iterator[Pixels]:
    """Batches [<= size, S, S, 3] of single photos."""
    batch: list[Pixels] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
