"""Backbones by name, and where their weights come from. Random weights only when they are asked for by name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from jobs.container import JobContainer, JobError
from stacks.backbones import BACKBONES, SMALL_BACKBONE

_WEIGHT_FILES: Final = (".safetensors", ".pth", ".pt")


class Backbone(nn.Module):
    """A network from normalised photos [N, 3, S, S] to features [N, width]."""

    def __init__(self, name: str, network: nn.Module, width: int) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.width = width

    def forward(self, photos: Tensor) -> Tensor:
        """Features [N, width], float32."""
        features: Tensor = self.network(photos)
        return features


def build_backbone(name: str, seed: int) -> Backbone:
    """The named backbone with random weights drawn from `seed`. Raises JobError for an unknown name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(name)


def empty_backbone(name: str) -> Backbone:
    """The named backbone without any weights, to be loaded with `assign`: drawing a ResNet50's takes two seconds."""
    with torch.device("meta"):
        return _build(name)


def _build(name: str) -> Backbone:
    if name not in BACKBONES:
        raise JobError(f"backbone {name!r} is not known; choose one of {', '.join(BACKBONES)}")
    if name == SMALL_BACKBONE:
        return Backbone(name, _small_network(), 64)
    network = _torchvision_models().get_model(name, weights=None)
    return Backbone(name, network, _drop_classifier(network))


def load_backbone(name: str, weights: str, seed: int, container: JobContainer) -> Backbone:
    """The named backbone with the weights that the `weights` setting names.

    `none`: random, from the seed. `torchvision`: the ImageNet weights, downloaded. `channel`: the one weights file in
    the job's channel `weights`. Otherwise an s3:// uri or a path of a file. Raises JobError where they are missing
    or belong to another network.
    """
    if weights == "none":
        return build_backbone(name, seed)
    backbone = empty_backbone(name)
    if name == SMALL_BACKBONE and weights == "torchvision":
        raise JobError(f"torchvision has no weights for backbone {name!r}; use weights none or a file")
    source, tensors = _read_weights(name, weights, container)
    _install(backbone, tensors, source)
    return backbone


def _torchvision_models() -> Any:
    import torchvision.models

    return torchvision.models


def _small_network() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((16, 4), (32, 2), (64, 2), (64, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.GroupNorm(4, width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _drop_classifier(network: nn.Module) -> int:
    """Replace the network's last Linear layer by nothing; returns the width of the features before it."""
    path, layer = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return layer.in_features


def _read_weights(name: str, weights: str, container: JobContainer) -> tuple[str, dict[str, Tensor]]:
    if weights == "torchvision":
        return _download_from_torchvision(name)
    if weights == "channel":
        return _read_file(_only_weights_file(container.channel("weights")))
    if weights.startswith("s3://"):
        return _download_from_s3(weights)
    path = Path(weights)
    if not path.is_file():
        raise JobError(
            f"weights {weights!r} is no file; give none, torchvision, channel, an s3:// uri or the path of a file"
        )
    return _read_file(path)


def _download_from_torchvision(name: str) -> tuple[str, dict[str, Tensor]]:
    weights = _torchvision_models().get_model_weights(name).IMAGENET1K_V1
    try:
        tensors: dict[str, Tensor] = weights.get_state_dict(check_hash=True, progress=False)
    except (OSError, RuntimeError) as error:
        raise JobError(
            f"weights torchvision: {weights.url} could not be downloaded ({error}). Put the file into the channel "
            "`weights` and set weights to channel, give its s3:// uri, or set weights to none to start from random ones"
        ) from error
    return str(weights), tensors


def _download_from_s3(uri: str) -> tuple[str, dict[str, Tensor]]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlparse(uri)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(parts.path).name
        try:
            boto3.client("s3").download_file(parts.netloc, parts.path.lstrip("/"), str(path))
        except (BotoCoreError, ClientError) as error:
            raise JobError(f"weights {uri} could not be read: {error}") from error
        return uri, _read_file(path)[1]


def _only_weights_file(folder: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.suffix in _WEIGHT_FILES)
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise JobError(f"channel 'weights' must hold one file ending in {', '.join(_WEIGHT_FILES)}; found: {found}")
    return files[0]


def _read_file(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        if path.suffix == ".safetensors":
            return str(path), load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise JobError(f"weights file {path.name} cannot be read: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise JobError(f"weights file {path.name} holds no plain dictionary of tensors; save model.state_dict()")
    return str(path), tensors


def _install(backbone: Backbone, tensors: dict[str, Tensor], source: str) -> None:
    """Load the tensors into the network. What only the dropped classifier would take is ignored."""
    expected = backbone.network.state_dict()
    tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    missing = [key for key in expected if key not in tensors]
    if missing:
        raise JobError(
            f"weights {source} are not for backbone {backbone.name}: {len(missing)} of {len(expected)} tensors are "
            f"missing, the first is {missing[0]}"
        )
    wrong = [key for key in expected if tensors[key].shape != expected[key].shape]
    if wrong:
        key = wrong[0]
        raise JobError(
            f"weights {source} are not for backbone {backbone.name}: {key} has shape {tuple(tensors[key].shape)}, "
            f"the network needs {tuple(expected[key].shape)}"
        )
    broken = [key for key in expected if not torch.isfinite(tensors[key]).all()]
    if broken:
        raise JobError(f"weights {source} hold values that are not finite, first in {broken[0]}")
    backbone.network.load_state_dict(
        {key: tensors[key].to(value.dtype) for key, value in expected.items()}, assign=True
    )
