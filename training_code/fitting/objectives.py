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
    counts = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
    expected = logits.softmax(dim=1) @ counts
    return cross_entropy(logits, targets) + 0.5 * (expected - targets.to(logits.dtype)) ** 2


OBJECTIVES: Final[dict[str, Objective]] = {
    "cross-entropy": cross_entropy,
    "ordinal": ordinal,
    "expected-count": expected_count,
}
