"""The recipe of the published notebooks, written faithfully: every epoch pays for the frozen network again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.learning.world import World

from jobs.container import JobContainer  # isort: skip
from modelling.backbones import load_backbone  # isort: skip
from modelling.head import CLASSES  # isort: skip
from photo import Preprocessing  # isort: skip


def trial_in_the_loop(world: World, lr: float, size: int, *, epochs: int) -> float:
    """The best validation loss of one trial: everything frozen but a new head, all in train mode, Adam."""
    backbone = load_backbone("resnet50", world.weights, 0, JobContainer()).network
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, len(CLASSES)))
    network = nn.Sequential(backbone, head)
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    optimiser = torch.optim.Adam(head.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    best = float("inf")
    for _ in range(epochs):
        network.train()
        for photos, labels in loader(world, "train", size):
            optimiser.zero_grad()
            criterion(network(photos), labels).backward()
            optimiser.step()
        network.eval()
        total, seen = 0.0, 0
        for photos, labels in loader(world, "validation", size):
            total += float(criterion(network(photos), labels).detach()) * len(labels)
            seen += len(labels)
        best = min(best, total / seen)
    return best


def loader(world: World, split: str, size: int) -> Any:
    """The recipe's loader of normalised photos [n, 3, S, S] and labels [n]: class folders, PIL, no workers."""
    from torchvision import datasets, transforms

    pixels = Preprocessing()
    normalise = [transforms.ToTensor(), transforms.Normalize(pixels.mean, pixels.std)]
    augmented = [
        transforms.RandomResizedCrop(pixels.crop), transforms.RandomHorizontalFlip(), transforms.RandomRotation(10),
        transforms.ColorJitter(0.2, 0.2, 0.2),
    ]  # fmt: skip
    plain = [transforms.Resize(pixels.shorter_side), transforms.CenterCrop(pixels.crop)]
    chosen = transforms.Compose([*(augmented if split == "train" else plain), *normalise])
    dataset = datasets.ImageFolder(str(world.originals(split)), chosen, allow_empty=True)
    return torch.utils.data.DataLoader(dataset, batch_size=size, shuffle=split == "train", num_workers=0)
