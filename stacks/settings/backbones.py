"""The networks that the training code knows; a test holds this list and its own together."""

from __future__ import annotations

from typing import Final, Literal, get_args

Backbone = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_v2_s",
    "convnext_tiny",
    "convnext_small",
    "mobilenet_v3_large",
    "vit_b_16",
    "small",
]
BACKBONES: Final[tuple[str, ...]] = get_args(Backbone)
WITHOUT_PRETRAINED_WEIGHTS: Final = frozenset({"small"})
"""Networks of our own, for which torchvision has no weights."""
