"""Training objectives. A count is ordinal: being off by three is worse than by one, and cross-entropy does not know.

Every objective works on the same five logits, so the served graph does not depend on the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

Objective = Callable[[Tensor, Tensor], Tensor]
_SMALLEST: Final = 1e-6


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss [N] of logits [N, k] for class indices [N]: the negative log probability of the recorded count."""
    return functional.cross_entropy(logits, targets, reduction="none")


def ordinal(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss [N]: binary cross-entropies of the k - 1 questions "more than 1, 2, ... items?", averaged.

    The probability of each answer is the tail of the softmax, so the answers never contradict each other.
    """
    more = logits.softmax(dim=1).flip(1).cumsum(dim=1).flip(1)[:, 1:].clamp(_SMALLEST, 1 - _SMALLEST)
    steps = torch.arange(1, logits.shape[1], device=logits.device)
    truth = (targets[:, None] >= steps).to(more.dtype)
    return functional.binary_cross_entropy(more, truth, reduction="none").mean(dim=1)


def expected_count(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss [N]: cross-entropy plus half the squared error, in items, of the expected count."""
    return cross_entropy(logits, targets) + 0.5 * _squared_error(logits, targets)


def regularised(objective: Objective, *, label_smoothing: float = 0.0, squared_error: float = 0.0) -> Objective:
    """An objective with what training adds to it.

    label_smoothing: share of the loss that asks for every class alike. Szegedy et al., Rethinking the Inception
    Architecture, 2016. squared_error: weight of the squared error, in items, of the expected count.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        losses = objective(logits, targets)
        if label_smoothing:
            losses = torch.lerp(losses, -logits.log_softmax(dim=1).mean(dim=1), label_smoothing)
        if squared_error:
            losses = losses + squared_error * _squared_error(logits, targets)
        return losses

    return loss


def _squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    counts = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
    error: Tensor = logits.softmax(dim=1) @ counts - targets.to(logits.dtype)
    return error**2


OBJECTIVES: Final[dict[str, Objective]] = {
    "cross-entropy": cross_entropy,
    "ordinal": ordinal,
    "expected-count": expected_count,
}
