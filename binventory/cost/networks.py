"""How much a network multiplies for one photo, against the ResNet50 that the rates of workload.py are for."""

from __future__ import annotations

from typing import Final

INPUT_SIZE: Final = 224
"""Side in pixels of the photos that the table below is for."""
MULTIPLY_ADDS: Final = {
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "efficientnet_b0": 0.38,
    "efficientnet_b1": 0.57,
    "efficientnet_v2_s": 2.85,
    "convnext_tiny": 4.45,
    "convnext_small": 8.68,
    "mobilenet_v3_large": 0.22,
    "vit_b_16": 17.56,
    "efficientnet_lite0": 0.38,
    "efficientnet_lite1": 0.50,
    "efficientnet_lite2": 0.58,
    "small": 0.01,
}
"""In thousand millions, of one photo of 224 pixels, as PyTorch counts them (tests/unit/test_cost_networks.py)."""
_REFERENCE: Final = "resnet50"


def relative_work(backbone: str, input_size: int) -> float:
    """Multiply-adds of a photo, in those of a ResNet50 at 224 pixels.

    A network that this table does not know, of a definition that was written by hand, counts as a ResNet50.
    """
    adds = MULTIPLY_ADDS.get(backbone, MULTIPLY_ADDS[_REFERENCE])
    return adds / MULTIPLY_ADDS[_REFERENCE] * (input_size / INPUT_SIZE) ** 2
