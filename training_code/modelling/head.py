"""The head: standardised features in, one score a count out.

Two kinds of scores, compared out of fold on 4,510 photos (docs/training.md):
ordered: one number says how much is in the bin, and four thresholds say where a count ends (an ordered logit).
softmax: one independent score for each count, without their order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from stacks.vocabulary import CLASSES

HIDDEN: Final = 128
ORDERED: Final = "ordered"
SOFTMAX: Final = "softmax"
HEADS: Final = (ORDERED, SOFTMAX)
# Below this a feature is constant on the training photos; dividing by less would only amplify rounding.
_SMALLEST_DEVIATION: Final = 1e-6
# Of a photo's standardised features, where several groups share it: one group of 100 features of deviation 1.
_LENGTH: Final = 10.0
# Features that are summed at a time: all of them in double would need twice their memory again.
_ROWS: Final = 16_384


class CountHead(nn.Module):
    """width-128-ReLU-scores on standardised features.

    Features come on any scale (a random backbone's differ from ImageNet's by orders of magnitude), so each is shifted
    and scaled by its mean and deviation on the training photos; both are part of the model and stored with it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, outputs: int = len(CLASSES), dropout: float = 0.0, *, kind: str = SOFTMAX) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.hidden = nn.Linear(width, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.out = OrderedScores(HIDDEN, outputs) if kind == ORDERED else nn.Linear(HIDDEN, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [N, outputs] of features [N, width]."""
        standard = (features - self.mean) / self.deviation
        logits: Tensor = self.out(self.dropout(torch.relu(self.hidden(standard))))
        return logits

    def standardise_on(self, features: Tensor, groups: Sequence[int] = ()) -> None:
        """Take mean and deviation from the training features [N, width]; a constant feature is ignored.

        Several groups (columns of each, side by side) are given equal lengths: a wide group would drown the narrow
        ones, which are those of the early stages.
        """
        mean = sum(part.double().sum(dim=0) for part in features.split(_ROWS)) / len(features)
        squares = sum((part.double() - mean).square().sum(dim=0) for part in features.split(_ROWS))
        deviation = (squares / len(features)).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation < _SMALLEST_DEVIATION, torch.inf, deviation) * _lengths(groups))

    def folded(self) -> nn.Module:
        """The same answers with (x - mean) / deviation multiplied into the first layer, to be served."""
        hidden = nn.Linear(self.hidden.in_features, self.hidden.out_features)
        with torch.no_grad():
            weight = self.hidden.weight.double() / self.deviation.double()
            hidden.weight.copy_(weight)
            hidden.bias.copy_(self.hidden.bias.double() - weight @ self.mean.double())
        return nn.Sequential(hidden, nn.ReLU(), self.out)


class OrderedScores(nn.Module):
    """An ordered logit: the count is at most k where one score, with logistic noise, stays below threshold k.

    McCullagh, Regression Models for Ordinal Data, 1980.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        # At a score of zero every count is as likely as another.
        even = torch.logit(torch.arange(1, outputs) / outputs)
        self.first = nn.Parameter(even[:1].clone())
        # Thresholds ascend because their steps are positive: the softplus of these.
        self.steps = nn.Parameter(torch.log(torch.expm1(even[1:] - even[:-1])))

    def forward(self, features: Tensor) -> Tensor:
        """Log probabilities [N, outputs] of features [N, width]."""
        steps = functional.softplus(self.steps)
        thresholds = torch.cat([self.first, self.first + steps.cumsum(0)])
        room = thresholds - self.score(features)
        at_most, above = -functional.softplus(-room), -functional.softplus(room)
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)): as a sum of logarithms it is exact in both tails.
        between = at_most[:, 1:] + above[:, :-1] + torch.log(1 - torch.exp(-steps))
        return torch.cat([at_most[:, :1], between, above[:, -1:]], dim=1)


def _lengths(groups: Sequence[int]) -> Tensor:
    """[width] by what each feature's deviation is multiplied; 1 where there is one group."""
    if len(groups) < 2:
        return torch.ones((), dtype=torch.float64)
    each = [torch.full((width,), math.sqrt(width * len(groups)) / _LENGTH, dtype=torch.float64) for width in groups]
    return torch.cat(each)
