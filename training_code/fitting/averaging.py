"""A running average of the weights, which is steadier than the weights of the last step and is what is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential average of a network's parameters and batch statistics; other buffers are taken as they are.

    The first steps count more than `decay` says, so that the random start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}
        moving = {name for name, _ in network.named_parameters()}
        # Not every buffer can be averaged: the deviation of a constant feature is infinite.
        self._averaged = moving | {name for name in self.values if name.endswith(("running_mean", "running_var"))}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        kept = min(self._decay, self.steps / (9 + self.steps))
        for name, value in network.state_dict().items():
            if name in self._averaged:
                self.values[name].lerp_(value, 1 - kept)
            else:
                self.values[name].copy_(value)

    @contextlib.contextmanager
    def installed(self, network: nn.Module) -> Iterator[None]:
        """The network with the averaged weights, for as long as the context lasts."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.values)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def restore(self, values: Mapping[str, Tensor], steps: int) -> None:
        """Take the state of a checkpoint."""
        self.steps = steps
        for name, value in self.values.items():
            value.copy_(values[name])
