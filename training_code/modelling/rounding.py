"""Int8 convolutions that keep their means. Weights rounded one by one move them, and layer after layer adds to it.

Three steps, each of which takes away what the one before it leaves:

sums: the neighbours that a filter reads are alike, so what counts is the error of the sum of its weights. Where all of
its weights were rounded the same way, some are rounded the other way.
biases: what a convolution's rounded weights still add to the mean of its output, on the photos, is taken off its bias.
head: rounded maps are rougher, so their deviations, which the head reads, are larger. What that adds to the head's
first layer is taken off that layer's bias.

With these, an EfficientNet-Lite0 can be rounded as a whole (docs/training.md). Biases are corrected as by Nagel and
others, Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelling.inner_tensors import Pixels, inner_tensors
from modelling.onnx_export import NETWORK_NODES

Values = NDArray[np.float64]

LARGEST_WEIGHT: Final = 64
"""Of 7 bits: two products with 8-bit pixels still fit the 16 bits in which x86 without VNNI adds them."""
_ADDED: Final = "/added_by_rounding"


def keep_means(exact: Any, int8: Path, photos: Sequence[Pixels]) -> None:
    """Change weights and biases of the int8 twin of a graph that `export_logits` wrote.

    Args:
        exact: the graph in fp32, loaded.
        int8: file of its twin, which is changed.
        photos: uint8 [N, S, S, 3] each, on which the means are taken.
    """
    import onnx

    rounded = onnx.load(int8)
    weights = _Tensors(exact)
    tensors = _Tensors(rounded)
    layers = list(_rounded_convolutions(exact, rounded, tensors))
    for layer in layers:
        sums_kept = with_sums_kept(weights[layer.exact.input[1]], tensors[layer.weights], tensors[layer.scales])
        tensors[layer.weights] = sums_kept
    errors = {
        layer: tensors.dequantised(layer.weights, layer.scales) - weights[layer.exact.input[1]] for layer in layers
    }
    head = _first_of_head(exact)
    *added, wanted = _means(_with_errors(exact, errors), [*(layer.added for layer in layers), head.output[0]], photos)
    for layer, shift in zip(layers, added, strict=True):
        steps = np.round(shift / tensors[layer.bias_scales])
        tensors[layer.bias] = (tensors[layer.bias] - steps).clip(-(2**31), 2**31 - 1).astype(np.int32)
    (found,) = _means(rounded, [head.output[0]], photos)
    tensors[head.input[2]] = (tensors[head.input[2]] - (found - wanted)).astype(np.float32)
    onnx.save(rounded, int8)


def with_sums_kept(exact: Values, rounded: NDArray[np.int8], scales: Values) -> NDArray[np.int8]:
    """Rounded weights [outputs, inputs, height, width] of which each filter's sum is wrong by half a step at most.

    Of a filter, those weights change that were rounded furthest in the wrong direction.
    """
    filters = rounded.astype(np.int32).reshape(*rounded.shape[:2], -1)
    wanted = exact.reshape(filters.shape) / scales.reshape(-1, 1, 1)
    errors = filters - wanted
    steps = np.round(errors.sum(axis=-1, keepdims=True))
    # The rank of each weight among its filter's, by how far it is above what it should be, or below.
    rank = np.argsort(np.argsort(-np.sign(steps) * errors, axis=-1), axis=-1)
    moved = filters - np.where(rank < np.abs(steps), np.sign(steps), 0)
    return moved.clip(-LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8).reshape(rounded.shape)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A convolution of the exact graph, and what its twin reads: names of weights, bias and their scales."""

    exact: Any
    weights: str
    scales: str
    bias: str
    bias_scales: str

    @property
    def added(self) -> str:
        """The tensor [outputs] of what rounding adds to the mean of its output."""
        return f"{self.exact.name}{_ADDED}"


class _Tensors:
    """The constants of a graph by their names; those that are set are of the graph from then on."""

    def __init__(self, model: Any) -> None:
        self._of = {each.name: each for each in model.graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def __getitem__(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._of[name]))

    def __setitem__(self, name: str, value: NDArray[Any]) -> None:
        from onnx import numpy_helper

        self._of[name].CopyFrom(numpy_helper.from_array(value, name))

    def dequantised(self, weights: str, scales: str) -> NDArray[Any]:
        """The floats that int8 weights [outputs, ...] stand for."""
        return np.asarray(self[weights].astype(np.float32) * self[scales].reshape(-1, 1, 1, 1))


def _rounded_convolutions(exact: Any, rounded: Any, tensors: _Tensors) -> Iterator[_Layer]:
    """Those with weights and a bias of their own. The exporter lets layers share a bias where many are equal."""
    twins = {node.name: node for node in exact.graph.node if node.op_type == "Conv"}
    read = Counter(name for node in rounded.graph.node for name in node.input)
    # What is dequantised from constants that nothing else reads.
    made = {
        node.output[0]: node
        for node in rounded.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and read[node.input[0]] == 1
    }
    for node in rounded.graph.node:
        own = [made.get(name) for name in node.input[1:] if read[name] == 1]
        if node.op_type == "Conv" and len(own) == 2 and None not in own:
            weights, bias = own
            yield _Layer(twins[node.name], *weights.input[:2], *bias.input[:2])  # type: ignore[union-attr]


def _with_errors(exact: Any, errors: dict[_Layer, NDArray[Any]]) -> Any:
    """The exact graph, in which each layer also convolves with the errors of its weights, and takes the mean."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(exact)
    for layer, error in errors.items():
        node = onnx.NodeProto()
        node.CopyFrom(layer.exact)
        node.name, weights, maps = (f"{layer.added}/{part}" for part in ("Conv", "weights", "maps"))
        node.ClearField("input")
        node.input.extend([layer.exact.input[0], weights])
        node.output[0] = maps
        model.graph.initializer.append(numpy_helper.from_array(error.astype(np.float32), weights))
        mean = helper.make_node("ReduceMean", [maps], [layer.added], axes=[0, 2, 3], keepdims=0)
        model.graph.node.extend([node, mean])
    return model


def _first_of_head(exact: Any) -> Any:
    """The layer that reads the network's features."""
    return next(node for node in exact.graph.node if node.op_type == "Gemm" and not node.name.startswith(NETWORK_NODES))


def _means(model: Any, wanted: Sequence[str], photos: Sequence[Pixels]) -> list[Values]:
    """Means over the photos of tensors [N, width], and of those [width] that are means over a batch."""
    sums = [np.zeros(()) for _ in wanted]
    for batch, found in zip(photos, inner_tensors(model, wanted, photos), strict=True):
        for place, value in enumerate(found):
            mean = value.mean(axis=0, dtype=np.float64) if value.ndim == 2 else value.astype(np.float64)
            sums[place] = sums[place] + mean * len(batch)
    return [total / sum(map(len, photos)) for total in sums]
