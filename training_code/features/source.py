"""Features as a source of training batches: all in memory, one of each photo's views an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from features.files import FeatureSet
from fitting.sampling import StepPlan, stream_seed
from jobs.container import JobError

_VIEW_STREAM = 0x71E3


class FeatureSource:
    """Batches of features [n, width] and counts [n] of one split.

    `views` is float32 [V, N, width], photos in the same order in every view. With several views each epoch takes one
    of each photo, drawn from the seed, as an augmenting loader would.
    """

    def __init__(self, features: FeatureSet, seed: int) -> None:
        self.views, self.counts, self.ids = _by_view(features)
        self.digest = features.digest
        self._seed = seed

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, plans: Sequence[StepPlan], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and counts of each planned step."""
        generator = torch.Generator().manual_seed(stream_seed(self._seed, _VIEW_STREAM, epoch))
        drawn = torch.randint(len(self.views), (len(self),), generator=generator)
        for plan in plans:
            rows = torch.tensor([row for lane in plan.rows for row in lane], dtype=torch.int64)
            yield self.views[drawn[rows], rows], self.counts[rows]

    def in_order(self, rows: range, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The photos themselves (view 0) of some rows, each once, in batches."""
        for start in range(rows.start, rows.stop, size):
            part = slice(start, min(start + size, rows.stop))
            yield self.views[0, part], self.counts[part]


def _by_view(features: FeatureSet) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Views [V, N, width] with the photos of view 0's order. Raises JobError where a photo lacks a view."""
    rows = {view: torch.nonzero(features.view == view).flatten() for view in features.view.unique().tolist()}
    if 0 not in rows:
        raise JobError("the features hold augmented views only; embed the split again")
    ids = tuple(features.ids[row] for row in rows[0].tolist())
    stacked = [features.features[rows[0]]]
    for view in sorted(set(rows) - {0}):
        place = {features.ids[row]: row for row in rows[view].tolist()}
        if any(photo not in place for photo in ids):
            raise JobError(f"view {view} of the features lacks photos that view 0 has; embed the split again")
        stacked.append(features.features[torch.tensor([place[photo] for photo in ids])])
    return torch.stack(stacked), features.counts[rows[0]], ids
