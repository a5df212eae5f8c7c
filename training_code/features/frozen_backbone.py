"""The frozen backbone as fast as this machine safely runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from fitting.precision import MixedPrecision
from modelling.bin_model import BinModel
from modelling.onnx_export import export_features
from modelling.openvino_graph import OpenvinoGraph, Photos

# How far the fast engine may be from plain PyTorch on the first photos, relative to the norm of the features.
_TOLERANCE: Final = {"fp32": 1e-3, "bf16": 5e-2}


@dataclass(frozen=True)
class FrozenBackbone:
    """Runs batches of photos uint8 [N, S, S, 3] to features float32 [N, width]."""

    engine: str
    run: Callable[[Iterable[Photos]], Iterator[Tensor]]


def freeze(model: BinModel, precision: str = "auto") -> FrozenBackbone:
    """The fastest engine whose features agree with plain PyTorch's: CUDA, else OpenVINO, else PyTorch.

    `precision` is fp32, bf16 or auto: bf16 (on a GPU without it fp16) where the hardware computes in it. An engine
    that fails its check on three probe photos is not used.
    """
    model = model.eval()
    if torch.cuda.is_available():
        return _on_cuda(model, precision)
    fast = _on_openvino(model, precision)
    return fast if fast is not None else _on_torch(model)


def calibrate_random_backbone(model: BinModel, batches: Iterable[Photos]) -> bool:
    """Set the batch norms of a *random* backbone from photos; returns whether it has any.

    Without this a random deep network passes almost nothing but a constant. Pretrained weights bring their own
    statistics and must not be touched.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return False
    for norm in norms:
        norm.reset_running_stats()
        # None: a plain average over the batches.
        norm.momentum = None
        norm.train()
    with torch.inference_mode():
        for batch in batches:
            model.backbone(model.normalise(torch.from_numpy(batch)))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()
    return True


def _on_torch(model: BinModel) -> FrozenBackbone:
    def run(batches: Iterable[Photos]) -> Iterator[Tensor]:
        for batch in batches:
            with torch.inference_mode():
                yield model.backbone(model.normalise(torch.from_numpy(batch)))

    return FrozenBackbone("torch fp32", run)


def _on_cuda(model: BinModel, precision: str) -> FrozenBackbone:
    network = model.to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    numbers = MixedPrecision.of(precision, torch.device("cuda"))

    def run(batches: Iterable[Photos]) -> Iterator[Tensor]:
        for batch in batches:
            with torch.inference_mode(), numbers.autocast():
                photos = torch.from_numpy(batch).to("cuda", non_blocking=True)
                yield network.backbone(network.normalise(photos)).float().cpu()

    return FrozenBackbone(f"cuda {numbers.kind}", run)


def _on_openvino(model: BinModel, precision: str) -> FrozenBackbone | None:
    with tempfile.TemporaryDirectory() as folder:
        export_features(model, Path(folder) / "features.onnx")
        try:
            graph = OpenvinoGraph(Path(folder) / "features.onnx", precision)
        except ImportError:
            return None
    frozen = FrozenBackbone(
        f"openvino {graph.precision}", lambda batches: (torch.from_numpy(found) for found in graph.run(batches))
    )
    tolerance = _TOLERANCE[graph.precision]
    return frozen if _agrees(frozen, _on_torch(model), model.preprocessing.crop, tolerance) else None


def _agrees(fast: FrozenBackbone, plain: FrozenBackbone, side: int, tolerance: float) -> bool:
    probe = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    ours, theirs = next(fast.run([probe])), next(plain.run([probe]))
    return bool((ours - theirs).norm() <= tolerance * theirs.norm())
