"""ResNet50 with the count head, as every contestant wants it: eager weights, ONNX in fp32 and in int8.

The weights are random: the time of a forward pass does not depend on them, its answers are not looked at here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from digests import seal, sha256_of
from photo import Preprocessing, prepare

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
    import torch

    torch.manual_seed(0)
    network = load_network(models)
    torch.save(network.state_dict(), models.weights)

    class FromBytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            constants = Preprocessing()
            self.network = network
            self.mean = torch.nn.Buffer(torch.tensor(constants.mean).view(1, 3, 1, 1) * 255)
            self.std = torch.nn.Buffer(torch.tensor(constants.std).view(1, 3, 1, 1) * 255)

        def forward(self, photos: torch.Tensor) -> Any:
            return self.network((photos.permute(0, 3, 1, 2).float() - self.mean) / self.std)

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            FromBytes().eval(), (torch.zeros(2, 224, 224, 3, dtype=torch.uint8),), str(models.fp32 / "model.onnx"),
            dynamo=False, opset_version=17, input_names=["photos"], output_names=["logits"],
            dynamic_axes={"photos": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip


def _quantise(models: Models, photos: Sequence[bytes]) -> None:
    """As the training code does: static, per channel, 7-bit weights, so that processors without VNNI stay exact."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Photos(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._photos: Iterator[bytes] = iter(photos)

        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            photo = next(self._photos, None)
            return None if photo is None else {"photos": prepare(photo, Preprocessing())[None]}

    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(
        models.fp32 / "model.onnx", models.int8 / "model.onnx", Photos(), quant_format=QuantFormat.QDQ,
        per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


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
