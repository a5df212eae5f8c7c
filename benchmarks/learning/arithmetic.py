"""How fast this machine multiplies at best, and how near to that the embedding comes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.learning.world import World, claim

from features.frozen_backbone import freeze  # isort: skip
from jobs.container import JobContainer  # isort: skip
from modelling.backbones import Backbone, load_backbone  # isort: skip
from modelling.bin_model import BinModel  # isort: skip
from modelling.onnx_export import export_features  # isort: skip
from modelling.openvino_graph import BATCH, OpenvinoGraph, Photos  # isort: skip
from photo import Preprocessing  # isort: skip

_PHOTOS = 48
_REPEATS = 3


@dataclass(frozen=True)
class Engine:
    """What the embedding's engine does on this machine."""

    name: str
    photos_a_second: float
    limit_photos_a_second: float
    """At the machine's own limit, were the backbone nothing but multiplications."""

    @property
    def share(self) -> float:
        """How near to the limit it comes."""
        return self.photos_a_second / self.limit_photos_a_second


def engine(world: World) -> Engine:
    """Measure the engine that `freeze` chooses, and the limit of the numbers it computes in, interleaved."""
    backbone = load_backbone("resnet50", world.weights, 0, JobContainer())
    model = BinModel(backbone, nn.Identity(), Preprocessing()).eval()
    multiplications = multiply_adds(model.backbone, model.preprocessing.crop)
    frozen = freeze(model)
    photos = np.random.default_rng(0).integers(0, 256, (_PHOTOS, 224, 224, 3), dtype=np.uint8)
    batches = [photos[start : start + BATCH] for start in range(0, _PHOTOS, BATCH)]
    precision = frozen.engine.split()[-1]
    limits = {"convolution": _convolutions(precision)}
    if precision == "fp32":
        limits["matrix product"] = _matrix_product
    embedding, best = 0.0, dict.fromkeys(limits, 0.0)
    for _ in range(_REPEATS):
        embedding = max(embedding, _PHOTOS / _seconds(lambda: list(frozen.run(batches))))
        best = {name: max(best[name], measure()) for name, measure in limits.items()}
    rates = ", ".join(f"{name} {rate / 1e9:.1f}" for name, rate in best.items())
    print(f"this machine's {precision} limit, 10^9 multiply-adds a second: {rates}")
    return Engine(frozen.engine, embedding, max(best.values()) / multiplications)


def engine_near_the_limit(world: World) -> None:
    """The part of the benchmark that prints it."""
    found = engine(world)
    print(
        f"{found.name}: {found.photos_a_second:.1f} photos a second, {1000 / found.photos_a_second:.1f} ms a photo; "
        f"the limit allows {found.limit_photos_a_second:.1f}"
    )
    claim("embedding-share-of-arithmetic-limit", found.share, 0.8)


def multiply_adds(network: nn.Module, side: int) -> float:
    """Multiply-adds of one photo, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, side, side))
    return float(counter.get_total_flops()) / 2


def _matrix_product() -> float:
    """Multiply-adds a second of a square product that stays in the cache."""
    side, times = 1536, 8
    left = np.random.default_rng(0).random((side, side), dtype=np.float32)
    return times * side**3 / _seconds(lambda: [left @ left for _ in range(times)])


class _Dense(nn.Module):
    """Convolutions of the size that suits a processor best: all arithmetic, next to no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 256, 3, padding=1), *(nn.Conv2d(256, 256, 3, padding=1, bias=False) for _ in range(8))
        )

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return self.layers(photos).mean((2, 3))  # type: ignore[no-any-return]


def _convolutions(precision: str) -> Callable[[], float]:
    """Measures multiply-adds a second of dense 3 x 3 convolutions in the embedding's own runtime."""
    side = 28
    network = _Dense().eval()
    count = multiply_adds(network, side)
    model = BinModel(Backbone("dense", network, 256), nn.Identity(), Preprocessing(shorter_side=side, crop=side))
    with tempfile.TemporaryDirectory() as folder:
        export_features(model, Path(folder) / "dense.onnx")
        graph = OpenvinoGraph(Path(folder) / "dense.onnx", precision)
    batches: list[Photos] = [np.zeros((BATCH, side, side, 3), dtype=np.uint8)] * 6
    return lambda: count * BATCH * len(batches) / _seconds(lambda: list(graph.run(batches)))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
