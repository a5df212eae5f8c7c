"""The processes of one training job: who I am, how sums and gradients are shared, and which device is mine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sampling import Sampling

if TYPE_CHECKING:
    from checkpoints import Snapshot


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """This process among those of its job, joined for as long as the context lasts."""
    yield Ranks()


@dataclass(frozen=True)
class Ranks:
    """This process among `size` of one job. A single process needs no process group and starts none."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process reports, saves and writes the model."""
        return self.rank == 0

    def sampling(self, samples: int, batch_size: int, seed: int, lanes: int | None = None) -> Sampling:
        """The plan of this process. More lanes than processes repeat a larger job's order in a smaller one."""
        lanes = lanes or self.size
        return Sampling(samples, batch_size, seed, lanes, tuple(range(self.rank, lanes, self.size)))

    def on_device(self, tensor: Tensor) -> Tensor:
        """The tensor where the network is."""
        return tensor.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 on hardware that computes in it; nothing on the CPU, whose results must repeat bit by bit."""
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the ranks."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)

    def total(self, sums: Tensor) -> list[float]:
        """The element-wise sum over the ranks of a float64 vector."""
        if self.size > 1:
            torch.distributed.all_reduce(sums)
        values: list[float] = sums.tolist()
        return values

    def share(self, snapshot: Snapshot | None) -> Snapshot | None:
        """The first rank's object, on every rank."""
        if self.size == 1:
            return snapshot
        box = [snapshot]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]
