"""ResNet50 with the count head, for PyTorch alone: this file also travels into TorchServe's archive as it is."""

from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet


class BinNetwork(ResNet):  # type: ignore[misc]
    """ResNet50 whose last layer is the count head 2048-128-ReLU-5."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        self.fc = nn.Sequential(nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, 5))
