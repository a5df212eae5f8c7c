"""The precision that is served: int8 where it answers as well as the float graph, bf16 where somebody asks for it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.count_metrics import Predictions, is_above, measure
from modelling.onnx_export import NETWORK_NODES
from modelling.ranges import Range, ranges_of_maps
from modelling.rounding import LARGEST_WEIGHT, keep_means
from photo import Preprocessing, prepare
from photos.batches import stacked
from shards import Sample

_CALIBRATION_BATCH: Final = 8


@dataclass(frozen=True)
class PrecisionScore:
    """What one precision scores on the validation split."""

    accuracy: float
    rmse: float

    @classmethod
    def of(cls, predictions: Predictions) -> PrecisionScore:
        """Score the answers of one graph."""
        metrics = measure(predictions)
        return cls(float(metrics.accuracy), float(metrics.rmse))


@dataclass(frozen=True)
class PrecisionChoice:
    """Which precision is served and the scores, so that the model package shows what int8 or bf16 costs."""

    precision: str
    fp32: PrecisionScore
    int8: PrecisionScore | None
    agreement: float | None
    """Share of validation photos given the same count by fp32 and by the other precision that was tried."""
    reason: str
    bf16: PrecisionScore | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Allowance:
    """How much int8 may lose against fp32 on the validation split."""

    accuracy: float = 0.005
    rmse: float = 0.01


def choose_precision(fp32: Predictions, int8: Predictions | None, allowance: Allowance) -> PrecisionChoice:
    """int8 if it loses no more than is allowed. Without int8 answers, fp32."""
    floating = PrecisionScore.of(fp32)
    if int8 is None:
        return PrecisionChoice("fp32", floating, None, None, "int8 was not asked for")
    small = PrecisionScore.of(int8)
    agreement = float((fp32.counts == int8.counts).mean())
    lost = floating.accuracy - small.accuracy
    worse = small.rmse - floating.rmse
    kept = not (is_above(lost, allowance.accuracy) or is_above(worse, allowance.rmse))
    reason = (
        f"int8 loses {lost:+.4f} accuracy (allowed {allowance.accuracy:g}) and adds {worse:+.4f} RMSE "
        f"(allowed {allowance.rmse:g}) on {len(fp32.labels)} validation photos"
    )
    return PrecisionChoice("int8" if kept else "fp32", floating, small, agreement, reason)


def bf16_as_asked(fp32: Predictions, bf16: Predictions) -> PrecisionChoice:
    """bf16, because it was asked for, with what it costs against fp32."""
    floating, half = PrecisionScore.of(fp32), PrecisionScore.of(bf16)
    agreement = float((fp32.counts == bf16.counts).mean())
    reason = (
        f"bf16 was asked for; it loses {floating.accuracy - half.accuracy:+.4f} accuracy and adds "
        f"{half.rmse - floating.rmse:+.4f} RMSE on {len(fp32.labels)} validation photos"
    )
    return PrecisionChoice("bf16", floating, None, agreement, reason, half)


def quantise(fp32: Path, int8: Path, photos: Sequence[Sample], preprocessing: Preprocessing) -> None:
    """Write the int8 twin of a graph: static, per channel, calibrated on training photos.

    Weights take 7 of the 8 bits: x86 without VNNI adds two 8-bit products in 16 bits, which full-range weights
    overflow, and ml.m5 hosts are of both kinds. Layers keep the means that they have in floats (`modelling.rounding`).
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    batches = list(stacked((prepare(sample.photo, preprocessing) for sample in photos), _CALIBRATION_BATCH))
    exact = onnx.load(fp32)
    nodes = exact.graph.node
    with tempfile.TemporaryDirectory() as folder, _without_advice():
        ranges = Path(folder) / "ranges.json"
        _write_ranges(ranges, ranges_of_maps(exact, batches))
        quantize_static(
            fp32, int8, None, quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=_outside_network(nodes),
            extra_options={
                "TensorQuantOverrides": {_pixels(nodes): [_range_of_pixels(preprocessing)], **_scales_of_filters(exact)}
            },
            calibration_cache_path=ranges,
        )  # fmt: skip
    keep_means(exact, int8, batches)


def _write_ranges(path: Path, ranges: Mapping[str, Range]) -> None:
    """Write the ranges where ONNX Runtime finds those of an earlier calibration."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData, save_tensors_data

    found = {name: (np.array([limits.least]), np.array([limits.greatest])) for name, limits in ranges.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, found), path)


def _outside_network(nodes: Sequence[Any]) -> list[str]:
    """Nodes that stay in fp32: the stages' deviations and the head, which are little work and lose most by rounding."""
    return [node.name for node in nodes if not node.name.startswith(NETWORK_NODES)]


def _pixels(nodes: Sequence[Any]) -> str:
    """The tensor that the network reads."""
    names: list[str] = [node.output[0] for node in nodes if node.op_type == "Transpose"]
    return names[0]


def _scales_of_filters(exact: Any) -> dict[str, list[dict[str, Any]]]:
    """The scale of each filter of the network, by the names of weights.

    ONNX Runtime finds the same ones, but in Python, filter by filter, which takes a second for ten thousand.
    """
    from onnx import numpy_helper

    constants = {each.name: each for each in exact.graph.initializer}
    found = {}
    for node in exact.graph.node:
        if node.op_type == "Conv" and node.name.startswith(NETWORK_NODES) and node.input[1] in constants:
            weights = numpy_helper.to_array(constants[node.input[1]])
            scales = np.abs(weights).reshape(len(weights), -1).max(axis=1) / np.float32(LARGEST_WEIGHT)
            # Of a filter whose weights are all zero.
            scales[scales < np.finfo(np.float32).tiny] = 1
            found[node.input[1]] = [{"axis": 0, "scale": scale, "zero_point": 0} for scale in scales]
    return found


def _range_of_pixels(preprocessing: Preprocessing) -> dict[str, NDArray[np.float32]]:
    """What bytes can become, so that none is rounded where all colours are standardised alike."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    return {"rmin": np.float32((-mean / std).min()), "rmax": np.float32(((1 - mean) / std).max())}  # type: ignore[dict-item]


@contextmanager
def _without_advice() -> Iterator[None]:
    """Quantising advises, on the root logger, to run a preprocessing that the exporter's folding makes needless."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
