"""How fast this machine multiplies at best, and how near to that the embedding comes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.claims import claim
from benchmarks.learning.world import Spent, World
from binventory.core.processors import usable_cpus
from features.frozen_backbone import freeze
from jobs.container import JobContainer
from modelling.backbones import LAST, Backbone, load_backbone
from modelling.bin_model import BinModel
from modelling.onnx_export import export_features
from modelling.openvino_graph import BATCH, OpenvinoGraph, Photos
from photo import Preprocessing

_PHOTOS = 48
_REPEATS = 3
Dense = tuple[float, Callable[[], object]]
"""Multiply-adds of a piece of work that is nothing else, and the work."""


@dataclass(frozen=True)
class Engine:
    """What the embedding's engine does on this machine."""

    name: str
    photos_a_second: float
    limit_photos_a_second: float
    """At the machine's own limit, were the backbone nothing but multiplications."""
    share: float
    """How near to the limit it comes, by processor time: another program on the machine takes the clock's, not that."""


def engine(world: World) -> Engine:
    """Measure the engine that `freeze` chooses, and the limit of the numbers it computes in, interleaved."""
    backbone = load_backbone("resnet50", world.weights, 0, JobContainer())
    model = BinModel(backbone, nn.Identity(), Preprocessing()).eval()
    multiplications = multiply_adds(model.backbone, model.preprocessing.crop)
    frozen = freeze(model)
    photos = np.random.default_rng(0).integers(0, 256, (_PHOTOS, 224, 224, 3), dtype=np.uint8)
    batches = [photos[start : start + BATCH] for start in range(0, _PHOTOS, BATCH)]
    precision = frozen.precision
    limits = {"convolution": _convolutions(precision)}
    if precision == "fp32":
        limits["matrix product"] = _matrix_product()
    runs: dict[str, list[Spent]] = {name: [] for name in ("embedding", *limits)}
    work = {"embedding": _PHOTOS * multiplications, **{name: count for name, (count, _) in limits.items()}}
    for _ in range(_REPEATS):
        runs["embedding"].append(Spent.of(lambda: list(frozen.run(batches))))
        for name, (_, dense) in limits.items():
            runs[name].append(Spent.of(dense))
    cores = usable_cpus()
    wall = {name: work[name] / min(run.wall for run in found) for name, found in runs.items()}
    processor = {name: work[name] / min(run.processor for run in found) * cores for name, found in runs.items()}
    print(f"10^9 {precision} multiply-adds a second on {cores} cores, by the clock / by processor time:")
    for name in runs:
        print(f"  {name}: {wall[name] / 1e9:.1f} / {processor[name] / 1e9:.1f}")
    limit = max(processor[name] for name in limits)
    return Engine(
        frozen.engine, wall["embedding"] / multiplications, limit / multiplications, processor["embedding"] / limit
    )


def engine_near_the_limit(world: World) -> None:
    """The part of the benchmark that prints it."""
    found = engine(world)
    print(
        f"{found.name}: {found.photos_a_second:.1f} photos a second, {1000 / found.photos_a_second:.1f} ms a photo; "
        f"the limit allows {found.limit_photos_a_second:.1f}"
    )
    claim("embedding_share_of_arithmetic_limit", found.share, at_least=0.8)


def multiply_adds(network: nn.Module, side: int) -> float:
    """Multiply-adds of one photo, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, side, side))
    return float(counter.get_total_flops()) / 2


def _matrix_product() -> Dense:
    """Square products that stay in the cache."""
    side, times = 1536, 8
    left = np.random.default_rng(0).random((side, side), dtype=np.float32)
    return times * side**3, lambda: [left @ left for _ in range(times)]


class _Dense(nn.Module):
    """Convolutions of the size that suits a processor best: all arithmetic, next to no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 256, 3, padding=1), *(nn.Conv2d(256, 256, 3, padding=1, bias=False) for _ in range(8))
        )

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return self.layers(photos).mean((2, 3))  # type: ignore[no-any-return]


def _convolutions(precision: str) -> Dense:
    """Dense 3 x 3 convolutions in the embedding's own runtime."""
    side = 28
    network = _Dense().eval()
    model = BinModel(
        Backbone("dense", network, LAST, (256,)), nn.Identity(), Preprocessing(shorter_side=side, crop=side)
    )
    with tempfile.TemporaryDirectory() as folder:
        export_features(model, Path(folder) / "dense.onnx")
        graph = OpenvinoGraph(Path(folder) / "dense.onnx", precision)
    batches: list[Photos] = [np.zeros((BATCH, side, side, 3), dtype=np.uint8)] * 6
    return multiply_adds(network, side) * BATCH * len(batches), lambda: list(graph.run(batches))
