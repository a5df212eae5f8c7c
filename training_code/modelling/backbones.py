"""Backbones by name: the network, the stages whose maps it gives, the photos it was made for, and its weights.

Random weights only where they are asked for by name.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from jobs.container import JobContainer, JobError
from modelling import efficientnet_lite
from modelling.weights import read_weights
from photo import CROP, WHOLE, Preprocessing
from stacks.backbones import BACKBONES, SMALL_BACKBONE

LAST: Final = "last"
STAGES: Final = "stages"
FEATURES: Final = (STAGES, LAST)
"""stages: mean and deviation of every stage's map beside the last pool; last: the last pool alone."""
INPUT_SIZE: Final = 224
_SMALL_PHOTO: Final = 64
"""A side in pixels that every network takes, but those transformers that take theirs alone."""
_PUBLISHED_SHORTER_SIDE: Final = 256
"""The shorter side from which the published recipes cut 224 pixels."""
_RESNET: Final = ("relu", "layer1", "layer2", "layer3", "layer4")
_STAGES_OF: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101"), _RESNET),
    **dict.fromkeys(("efficientnet_b0", "efficientnet_b1"), tuple(f"features.{place}" for place in range(9))),
    "efficientnet_v2_s": tuple(f"features.{place}" for place in range(8)),
    **dict.fromkeys(("convnext_tiny", "convnext_small"), tuple(f"features.{place}" for place in (0, 1, 3, 5, 7))),
    "mobilenet_v3_large": tuple(f"features.{place}" for place in (1, 3, 6, 12, 15, 16)),
    "vit_b_16": tuple(f"encoder.layers.encoder_layer_{place}" for place in (2, 5, 8, 11)),
    **{name: efficientnet_lite.stages_of(name) for name in efficientnet_lite.NAMES},
    SMALL_BACKBONE: ("2", "5", "8", "11"),
}
"""Names of the modules that end a stage, from the photo upwards."""
# Of a map that is the same everywhere; the root's slope has no bound at zero.
_SMALLEST_VARIANCE: Final = 1e-6


class Backbone(nn.Module):
    """A network from normalised photos [N, 3, S, S] to features [N, width].

    The features are groups side by side, of `groups` columns each: the last pool, and with `features` stages the mean
    and the deviation of every stage's map. The mean of the last map is left out: the last pool is made of it.
    """

    def __init__(self, name: str, network: nn.Module, features: str, groups: tuple[int, ...]) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.features = features
        self.groups = groups

    @property
    def width(self) -> int:
        """Features of one photo."""
        return sum(self.groups)

    def forward(self, photos: Tensor) -> Tensor:
        """Features [N, width], float32."""
        found = _groups(self.name, self.network, self.features, photos)
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def preprocessing_of(name: str, fit: str = CROP, side: int = INPUT_SIZE) -> Preprocessing:
    """How photos are prepared for a backbone: fitted to `side` pixels, normalised as in its own training."""
    plain = Preprocessing()
    shorter = side if fit == WHOLE else round(side * _PUBLISHED_SHORTER_SIDE / INPUT_SIZE)
    mean, std = plain.mean, plain.std
    if name in efficientnet_lite.NAMES:
        mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    return Preprocessing(shorter, side, mean, std, fit)


def build_backbone(name: str, seed: int, features: str = LAST) -> Backbone:
    """The named backbone with random weights drawn from `seed`. Raises JobError for an unknown name."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(name, features)


def empty_backbone(name: str, features: str = LAST) -> Backbone:
    """The named backbone without any weights, to be loaded with `assign`: drawing a ResNet50's takes two seconds."""
    with torch.device("meta"):
        return _build(name, features)


def load_backbone(name: str, weights: str, seed: int, container: JobContainer, features: str = LAST) -> Backbone:
    """The named backbone with the weights that the `weights` setting names.

    `none`: random, from the seed. `torchvision`: ImageNet weights, downloaded. `packaged`: ImageNet weights of an
    installed package. `channel`: the one weights file in the job's channel `weights`. Otherwise an s3:// uri or a path
    of a file. Raises JobError where they are missing or belong to another network.
    """
    if weights == "none":
        return build_backbone(name, seed, features)
    backbone = empty_backbone(name, features)
    source, tensors = read_weights(name, weights, container)
    _install(backbone, tensors, source)
    return backbone


def _build(name: str, features: str) -> Backbone:
    if name not in BACKBONES:
        raise JobError(f"backbone {name!r} is not known; choose one of {', '.join(BACKBONES)}")
    return Backbone(name, _network(name), features, _widths(name, features))


def _network(name: str) -> nn.Module:
    if name == SMALL_BACKBONE:
        return _small_network()
    if name in efficientnet_lite.NAMES:
        return efficientnet_lite.EfficientNetLite(name)
    import torchvision.models

    network: nn.Module = torchvision.models.get_model(name, weights=None)
    _drop_classifier(network)
    return network


@cache
def _widths(name: str, features: str) -> tuple[int, ...]:
    """Columns of each group of features, found on a small photo, with whatever stands where the weights would.

    With shapes alone instead, the first computation of a process imports for most of a second what PyTorch needs. Its
    `to_empty` imports that too.
    """
    with torch.device("meta"):
        network = _network(name).eval()
    side = getattr(network, "image_size", _SMALL_PHOTO)
    with torch.device("cpu"), torch.inference_mode():
        weights = {key: torch.empty(value.shape, dtype=value.dtype) for key, value in network.state_dict().items()}
        network.load_state_dict(weights, assign=True)
        found = _groups(name, network, features, torch.zeros(1, 3, side, side))
    return tuple(group.shape[1] for group in found)


def _groups(name: str, network: nn.Module, features: str, photos: Tensor) -> list[Tensor]:
    """Groups of features [N, width of the group] in the order that `Backbone` describes."""
    if features == LAST:
        return [network(photos)]
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, outputs: Tensor) -> None:
        maps.append(outputs)

    # Attached for this call alone: a copy of the network has no hooks that write into the original's list.
    hooks = [network.get_submodule(stage).register_forward_hook(keep) for stage in _STAGES_OF[name]]
    try:
        groups = [network(photos)]
    finally:
        for hook in hooks:
            hook.remove()
    for stage, found in enumerate(maps):
        # Maps [N, width, H, W], or a transformer's tokens [N, tokens, width].
        places = (2, 3) if found.ndim == 4 else (1,)
        mean = found.mean(dim=places, keepdim=True)
        deviation = ((found - mean).square().mean(dim=places) + _SMALLEST_VARIANCE).sqrt()
        groups += [deviation] if stage == len(maps) - 1 else [mean.flatten(1), deviation]
    return groups


def _small_network() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((16, 4), (32, 2), (64, 2), (64, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.GroupNorm(4, width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _drop_classifier(network: nn.Module) -> None:
    """Replace the network's last Linear layer by nothing."""
    path = [path for path, layer in network.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())


def _install(backbone: Backbone, tensors: dict[str, Tensor], source: str) -> None:
    """Load the tensors into the network. What only the dropped classifier would take is ignored."""
    expected = backbone.network.state_dict()
    tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    # Counters of batches: nothing reads them, and older files lack them.
    unread = {key for key in expected if key.endswith("num_batches_tracked")}
    tensors |= {key: torch.zeros((), dtype=torch.int64) for key in unread - set(tensors)}
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
