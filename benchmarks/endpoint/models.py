"""ResNet50 with the count head, as every contestant wants it: eager weights, ONNX in fp32 and in int8.

The weights are random: the time of a forward pass does not depend on them, its answers are not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from digests import seal, sha256_of
from photo import Preprocessing

# Multiply-adds of one forward pass at 224 x 224.
RESNET50_MACS: Final = 4.09e9
_CALIBRATION_PHOTOS: Final = 32
# The one file that knows the network; it runs in TorchServe's environment too.
NETWORK: Final = Path(__file__).with_name("bin_network.py")


@dataclass(frozen=True)
class Models:
    """Where the files are."""

    weights: Path
    fp32: Path
    int8: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Models:
        """The paths in a folder; the two artefacts are folders that the server reads."""
        return cls(folder / "weights.pth", folder / "fp32", folder / "int8")


def make(folder: Path, photos: Sequence[bytes]) -> Models:
    """Write all of them, int8 calibrated on the photos."""
    models = Models.in_folder(folder)
    if (models.int8 / "serving.json").exists():
        return models
    folder.mkdir(parents=True, exist_ok=True)
    for artefact in (models.fp32, models.int8):
        artefact.mkdir(exist_ok=True)
    _export(models)
    _quantise(models, photos[:_CALIBRATION_PHOTOS])
    for artefact, precision in ((models.fp32, "fp32"), (models.int8, "int8")):
        described = {**_description(precision), "graph": sha256_of(artefact / "model.onnx")}
        (artefact / "serving.json").write_bytes(seal(described))
    return models


def load_network(models: Models) -> Any:
    """The eager PyTorch network with its weights."""
    import torch

    from benchmarks.endpoint.bin_network import BinNetwork

    network = BinNetwork()
    if models.weights.exists():
        network.load_state_dict(torch.load(models.weights, weights_only=True))
    return network.eval()


def _export(models: Models) -> None:
    """As Evaluate does, with the head apart from the network: what is not the network stays in floats."""
    import torch
    from torch import nn

    from modelling.backbones import LAST, Backbone
    from modelling.bin_model import BinModel
    from modelling.onnx_export import export_logits

    torch.manual_seed(0)
    network = load_network(models)
    torch.save(network.state_dict(), models.weights)
    head, network.fc = network.fc, nn.Identity()
    backbone = Backbone("resnet50", network, LAST, (head[0].in_features,))
    export_logits(BinModel(backbone, head, Preprocessing()).eval(), models.fp32 / "model.onnx")


def _quantise(models: Models, photos: Sequence[bytes]) -> None:
    """As Evaluate does."""
    from modelling.quantisation import quantise
    from shards import Sample

    samples = [Sample(f"{place:05}", photo, 1) for place, photo in enumerate(photos)]
    quantise(models.fp32 / "model.onnx", models.int8 / "model.onnx", samples, Preprocessing())


def _description(precision: str) -> dict[str, Any]:
    constants = Preprocessing()
    return {
        "schema": 1,
        "classes": [1, 2, 3, 4, 5],
        "preprocessing": {
            "shorter_side": constants.shorter_side,
            "crop": constants.crop,
            "mean": constants.mean,
            "std": constants.std,
        },
        "temperature": 1.0,
        "precision": precision,
    }
