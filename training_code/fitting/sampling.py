"""Which samples each step of each epoch takes, as a pure function of the seed.

Nothing is remembered between epochs, so a resumed run continues with exactly the samples that were left, and any
number of processes compute the same order independently. The split is cut into `lanes`, contiguous runs of samples (a
lane is what one process reads, so mostly its own shards); a global batch takes its share from every lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Keeps the streams of random numbers of different purposes apart.
_ORDER_STREAM = 0x0B1A5


@dataclass(frozen=True)
class StepPlan:
    """One global batch: `rows` are this process's samples, one list a lane it reads; `total` counts all lanes."""

    rows: tuple[list[int], ...]
    total: int


@dataclass(frozen=True)
class Sampling:
    """The plan of every epoch for a process that reads the lanes `mine` of `lanes`."""

    samples: int
    batch_size: int
    seed: int
    lanes: int = 1
    mine: tuple[int, ...] = (0,)

    @property
    def steps(self) -> int:
        """Steps of an epoch: every sample once, batches as equal as they can be, none above the batch size."""
        return -(-self.samples // self.batch_size)

    def epoch(self, epoch: int) -> list[StepPlan]:
        """The steps of one epoch, in order."""
        orders = {lane: self._order(epoch, lane) for lane in self.mine}
        return [self._step(step, orders) for step in range(self.steps)]

    def _step(self, step: int, orders: dict[int, list[int]]) -> StepPlan:
        rows = tuple(order[self._cut(step, len(order)) : self._cut(step + 1, len(order))] for order in orders.values())
        sizes = [lane_range(self.samples, self.lanes, lane) for lane in range(self.lanes)]
        total = sum(self._cut(step + 1, len(size)) - self._cut(step, len(size)) for size in sizes)
        return StepPlan(rows, total)

    def _cut(self, step: int, size: int) -> int:
        return step * size // self.steps

    def _order(self, epoch: int, lane: int) -> list[int]:
        rows = lane_range(self.samples, self.lanes, lane)
        generator = torch.Generator().manual_seed(stream_seed(self.seed, _ORDER_STREAM, epoch, lane))
        return [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]


def lane_range(samples: int, lanes: int, lane: int) -> range:
    """The contiguous samples of a lane; lanes differ by at most one sample."""
    return range(lane * samples // lanes, (lane + 1) * samples // lanes)


def stream_seed(*parts: int) -> int:
    """One seed from several numbers, well mixed (SplitMix64), for a separate random stream."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return state >> 1
