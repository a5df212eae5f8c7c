"""ResNet50 with the count head, for PyTorch alone: this file also travels into TorchServe's archive as it is."""

import torch
from torch import nn


def _declare_missing_operators() -> torch.library.Library:
    """torchvision's import wants two schemas that a CPU torch beside torchvision's CUDA build does not have."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


try:
    import torchvision  # noqa: F401
except RuntimeError:
    # The schemas live as long as the object that declared them.
    _library = _declare_missing_operators()

from torchvision.models.resnet import Bottleneck, ResNet  # noqa: E402


class BinNetwork(ResNet):  # type: ignore[misc]
    """ResNet50 whose last layer is the count head 2048-128-ReLU-5."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        self.fc = nn.Sequential(nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, 5))
