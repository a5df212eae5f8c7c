"""The frozen backbone as fast as this machine safely runs it."""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from arithmetic import PrecisionError, floats_for_features, floats_of_cpu
from features.engine_check import EngineCheck
from fitting.precision import MixedPrecision, half_of_gpu
from jobs.container import JobError
from modelling.bin_model import BinModel
from modelling.onnx_export import export_features
from modelling.openvino_graph import OpenvinoGraph, Photos


@dataclass(frozen=True)
class FrozenBackbone:
    """Runs batches of photos uint8 [N, S, S, 3] to features float32 [N, width], computed in `precision`."""

    runtime: str
    precision: str
    run: Callable[[Iterable[Photos]], Iterator[Tensor]]

    @property
    def engine(self) -> str:
        """For example `openvino bf16`."""
        return f"{self.runtime} {self.precision}"


def freeze(model: BinModel, precision: str = "auto", probes: Photos | None = None) -> FrozenBackbone:
    """The fastest engine whose features agree with plain PyTorch's: CUDA, else OpenVINO, else PyTorch.

    `precision` is fp32, bf16 or auto: the fastest that the hardware has and that passes its check on `probes`, uint8
    [N, S, S, 3], for which random patches stand in. An engine that fails is named on stderr. Raises JobError where a
    precision that was asked for cannot be had, or fails.
    """
    model = model.eval()
    cuda = torch.cuda.is_available()
    check = EngineCheck(model, _patches(model.preprocessing.crop) if probes is None else probes)
    try:
        kinds = floats_for_features(precision, (half_of_gpu(), "fp32") if cuda else floats_of_cpu())
        for found in _on_cuda(model, kinds) if cuda else _on_openvino(model, kinds):
            complaint = check.complaint(found.precision, found.run)
            if complaint is None:
                return found
            print(f"warning: {found.engine} is not used: {complaint}", file=sys.stderr, flush=True)
    except PrecisionError as error:
        raise JobError(f"the backbone cannot run here: {error}") from error
    if "fp32" not in kinds:
        raise JobError(f"precision {precision} does not suit this backbone ({complaint}): take auto or fp32")
    return _on_torch(model)


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

    return FrozenBackbone("torch", "fp32", run)


def _on_cuda(model: BinModel, kinds: Sequence[str]) -> Iterator[FrozenBackbone]:
    network = copy.deepcopy(model).to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    for kind in kinds:
        numbers = MixedPrecision.of(kind, torch.device("cuda"))

        def run(batches: Iterable[Photos], numbers: MixedPrecision = numbers) -> Iterator[Tensor]:
            for batch in batches:
                with torch.inference_mode(), numbers.autocast():
                    photos = torch.from_numpy(batch).to("cuda", non_blocking=True)
                    yield network.backbone(network.normalise(photos)).float().cpu()

        yield FrozenBackbone("cuda", kind, run)


def _on_openvino(model: BinModel, kinds: Sequence[str]) -> Iterator[FrozenBackbone]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.onnx"
        export_features(model, path)
        for kind in kinds:
            graph = OpenvinoGraph(path, kind)

            def run(batches: Iterable[Photos], graph: OpenvinoGraph = graph) -> Iterator[Tensor]:
                return (torch.from_numpy(found) for found in graph.run(batches))

            yield FrozenBackbone("openvino", kind, run)


def _patches(side: int) -> Photos:
    """Eight random photos of large even patches, which differ more in their features than plain noise does."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (8, 7, 7, 3), dtype=np.uint8)
    rows = np.arange(side) * 7 // side
    return np.ascontiguousarray(coarse[:, rows][:, :, rows])
