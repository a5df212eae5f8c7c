"""Networks as ONNX graphs: bytes in, features or logits out, the same file for the same weights."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from modelling.bin_model import BinModel
from modelling.head import CountHead

OPSET = 17
INPUT = "photos"
NETWORK_NODES = "/backbone/network/"
"""What the names of the backbone's own nodes begin with: the exporter names a node by the path of its module."""


def export_features(model: BinModel, path: Path) -> None:
    """Write the graph photos uint8 [N, S, S, 3] -> features float32 [N, width]."""
    _export(_Served(model, nn.Identity()), model.preprocessing.crop, path, "features")


def export_logits(model: BinModel, path: Path) -> None:
    """Write the graph photos uint8 [N, S, S, 3] -> logits float32 [N, outputs], standardisation folded in."""
    head = model.head
    served = head.folded() if isinstance(head, CountHead) else head
    _export(_Served(model, served), model.preprocessing.crop, path, "logits")


class _Served(nn.Module):
    """The model with another head; the original stays untouched."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: BinModel, head: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.head = head
        self.register_buffer("scale", _one_if_equal(1 / model.pixel_std.flatten()), persistent=False)
        self.register_buffer("shift", _one_if_equal((model.pixel_mean / model.pixel_std).flatten()), persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        # Turned last: OpenVINO keeps maps in the order of the photo's bytes, and then need not turn anything.
        pixels = (photos.float() * self.scale - self.shift).permute(0, 3, 1, 2)
        answer: Tensor = self.head(self.backbone(pixels))
        return answer


def _one_if_equal(colours: Tensor) -> Tensor:
    """One number for all colours where they have the same: it takes a third of the time to apply."""
    return colours[:1] if bool((colours == colours[0]).all()) else colours


def _export(network: nn.Module, side: int, path: Path, output: str) -> None:
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    axes = {INPUT: {0: "n"}, output: {0: "n"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.inference_mode(), _plain_attention():
        # The newer exporter needs onnxscript and writes names that change from run to run.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (example,), str(path), dynamo=False, opset_version=OPSET,
            input_names=[INPUT], output_names=[output], dynamic_axes=axes,
        )  # fmt: skip


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as plain operators: the fused one of inference has no ONNX form."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
