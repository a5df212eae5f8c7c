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
PackagedBackbone = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
SmallBackbone = Literal["small"]
Backbone = Literal[TorchvisionBackbone, PackagedBackbone, SmallBackbone]
TORCHVISION_BACKBONES: Final[tuple[str, ...]] = get_args(TorchvisionBackbone)
"""torchvision's classification networks that end in a Linear layer on a pooled feature vector."""
PACKAGED_BACKBONES: Final[tuple[str, ...]] = get_args(PackagedBackbone)
"""Networks whose ImageNet weights come in a Python package: no download."""
SMALL_BACKBONE: Final = "small"
"""A few layers without batch statistics: it trains whole on a CPU in seconds. torchvision has no weights for it."""
BACKBONES: Final = (*TORCHVISION_BACKBONES, *PACKAGED_BACKBONES, SMALL_BACKBONE)


def published_weights(backbone: str) -> str:
    """The source of a backbone's ImageNet weights, as the setting `weights` names it; empty if nobody publishes any."""
    if backbone in TORCHVISION_BACKBONES:
        return "torchvision"
    return "packaged" if backbone in PACKAGED_BACKBONES else ""
