"""A head for a whole network, fitted on the frozen backbone before everything is trained.

With random scores on top, the first steps of a full training would tear up what the backbone has learnt elsewhere.
Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import torch
from torch import Tensor

from fitting.objectives import cross_entropy
from fitting.optimiser import Optimiser, Schedule
from fitting.sampling import Sampling
from modelling.bin_model import BinModel
from modelling.head import CountHead
from stacks.vocabulary import CLASSES

MOST_PHOTOS: Final = 4096
_READ_TOGETHER: Final = 32
# Rate and batch are the defaults of a head on frozen features; the decay is half of theirs.
_RATE: Final = 0.03
_BATCH: Final = 64
_WEIGHT_DECAY: Final = 0.01


class Photos(Protocol):
    """Photos that can be read in order."""

    def __len__(self) -> int: ...

    def in_order(self, rows: range, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and counts of some rows, each once, as they are served."""
        ...


def fit_first_head(model: BinModel, photos: Photos, *, epochs: int, seed: int) -> None:
    """Standardise the model's head and fit it on the backbone's features of the photos, at most MOST_PHOTOS of them.

    Equal inputs give equal heads, so every machine of a job may do it by itself.
    """
    head = model.head
    assert isinstance(head, CountHead)
    features, counts = _features(model, photos)
    head.standardise_on(features, model.backbone.groups)
    sampling = Sampling(len(counts), _BATCH, seed)
    schedule = Schedule(_RATE, sampling.steps * epochs, sampling.steps)
    optimiser = Optimiser(head, "sgd", _WEIGHT_DECAY)
    targets = counts - CLASSES[0]
    head.train()
    step = 0
    for epoch in range(epochs):
        for plan in sampling.epoch(epoch):
            rows = torch.tensor(plan.rows[0])
            cross_entropy(head(features[rows]), targets[rows]).mean().backward()
            optimiser.step(schedule.rate(step))
            step += 1


def _features(model: BinModel, photos: Photos) -> tuple[Tensor, Tensor]:
    """Features [N, width] and counts [N] of evenly spread photos, on the device of the model."""
    device = model.pixel_mean.device
    training = model.training
    model.eval()
    step = -(-len(photos) // MOST_PHOTOS)
    found, counted = [], []
    with torch.inference_mode():
        for inputs, counts in photos.in_order(range(0, len(photos), step), _READ_TOGETHER):
            found.append(model.backbone(model.normalise(inputs.to(device))).float())
            counted.append(counts.to(device))
    model.train(training)
    # Out of inference mode: the head's gradients are recorded on them.
    return torch.cat(found).clone(), torch.cat(counted).clone()
