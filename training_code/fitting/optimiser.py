"""Optimisers as PyTorch's own update functions over state we hold, and the learning rate's schedule.

torch.optim's classes import the compiler at construction (1.6 s of a trial that trains for two) and hide state;
the functions they call do neither, and plain named tensors make an exact checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

OPTIMISERS: Final = ("sgd", "adamw")
_HEAD: Final = "head."
"""What the names of a whole network's head begin with."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from zero, then a cosine to zero (or constant)."""

    peak: float
    steps: int
    warm_up: int = 0
    cosine: bool = True

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.peak * (step + 1) / (self.warm_up + 1)
        if not self.cosine:
            return self.peak
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Optimiser:
    """SGD with Nesterov momentum, or AdamW. Biases and norms are not decayed.

    `head_rate` multiplies the learning rate of a whole network's head.
    """

    def __init__(self, network: nn.Module, kind: str, weight_decay: float, head_rate: float = 1.0) -> None:
        self.kind = kind
        self._named = {name: value for name, value in network.named_parameters() if value.requires_grad}
        decayed = [name for name, value in self._named.items() if value.ndim > 1]
        plain = [name for name, value in self._named.items() if value.ndim <= 1]
        self._groups = [
            ([name for name in names if name.startswith(_HEAD) == head], decay, head_rate if head else 1.0)
            for names, decay in ((decayed, weight_decay), (plain, 0.0))
            for head in (False, True)
        ]
        slots = ("momentum",) if kind == "sgd" else ("mean", "square")
        self.state: dict[str, Tensor] = {
            f"{slot}.{name}": torch.zeros_like(value) for slot in slots for name, value in self._named.items()
        }
        if kind == "adamw":
            self.state |= {f"step.{name}": torch.zeros(()) for name in self._named}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters from their gradients, then drop the gradients."""
        for names, decay, factor in self._groups:
            names = [name for name in names if self._named[name].grad is not None]
            if names:
                self._update(names, rate * factor, decay)
        for value in self._named.values():
            value.grad = None

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over the state of a checkpoint."""
        for name, value in self.state.items():
            value.copy_(state[name])

    def _update(self, names: list[str], rate: float, decay: float) -> None:
        values = [self._named[name] for name in names]
        gradients = [value.grad for value in values if value.grad is not None]
        if self.kind == "sgd":
            momentum: list[Tensor | None] = [self.state[f"momentum.{name}"] for name in names]
            sgd(
                list(values), gradients, momentum, weight_decay=decay, momentum=0.9, lr=rate, dampening=0.0,
                nesterov=True, maximize=False, fused=True,
            )  # fmt: skip
            return
        slots = {slot: [self.state[f"{slot}.{name}"] for name in names] for slot in ("mean", "square", "step")}
        adamw(
            list(values), gradients, slots["mean"], slots["square"], [], slots["step"], amsgrad=False, beta1=0.9,
            beta2=0.999, lr=rate, weight_decay=decay, eps=1e-8, maximize=False, foreach=True,
        )  # fmt: skip
