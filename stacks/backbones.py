"""The backbones by name, for settings, pipeline and training code. Packed for the jobs as vocabulary.py is."""

from __future__ import annotations

from typing import Final, Literal, get_args

TorchvisionBackbone = Literal[
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
]
SmallBackbone = Literal["small"]
Backbone = Literal[TorchvisionBackbone, SmallBackbone]
TORCHVISION_BACKBONES: Final[tuple[str, ...]] = get_args(TorchvisionBackbone)
"""torchvision's classification networks that end in a Linear layer on a pooled feature vector."""
SMALL_BACKBONE: Final = "small"
"""A few layers without batch statistics: it trains whole on a CPU in seconds. torchvision has no weights for it."""
BACKBONES: Final = (*TORCHVISION_BACKBONES, SMALL_BACKBONE)
