"""The least and the greatest value of each map of a network, by which int8 is laid out.

ONNX Runtime can measure them too. It measures every tensor on the way, most of which no rounding asks for, and takes
six times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelling.inner_tensors import Pixels, inner_tensors
from modelling.onnx_export import NETWORK_NODES

_LIMITS: Final = ("Clip", "Relu")
_LEAST, _GREATEST = "/least", "/greatest"


@dataclass(frozen=True)
class Range:
    """What a tensor's values lie between."""

    least: np.float32
    greatest: np.float32


def ranges_of_maps(fp32: Any, photos: Sequence[Pixels]) -> dict[str, Range]:
    """The range of each float tensor that the network of a graph reads or makes, on photos uint8 [N, S, S, 3].

    What only a ReLU or ReLU6 reads has the range of that one's output, which takes its place in int8.
    """
    import onnx
    from onnx import helper

    network = [node for node in fp32.graph.node if node.name.startswith(NETWORK_NODES)]
    same = dict(_before_limits(fp32, network))
    floats = _floats(fp32)
    touched = {name for node in network for name in (*node.input, *node.output)} & floats
    measured = sorted(touched - set(same))
    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    for name in measured:
        for operator, ending in (("ReduceMin", _LEAST), ("ReduceMax", _GREATEST)):
            model.graph.node.append(helper.make_node(operator, [name], [name + ending], keepdims=0))
    wanted = [name + ending for name in measured for ending in (_LEAST, _GREATEST)]
    found = np.array(list(inner_tensors(model, wanted, photos)))
    least, greatest = found[:, 0::2].min(axis=0), found[:, 1::2].max(axis=0)
    ranges = {name: Range(*limits) for name, *limits in zip(measured, least, greatest, strict=True)}
    return ranges | _taken_over(same, ranges)


def _before_limits(fp32: Any, network: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """What only a ReLU or ReLU6 reads, and its output."""
    read = Counter(name for node in fp32.graph.node for name in node.input)
    for node in network:
        if node.op_type in _LIMITS and read[node.input[0]] == 1:
            yield node.input[0], node.output[0]


def _floats(fp32: Any) -> set[str]:
    """Names of the float tensors that nodes make."""
    import onnx

    known = onnx.shape_inference.infer_shapes(fp32).graph
    typed = (*known.value_info, *known.output)
    return {each.name for each in typed if each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


def _taken_over(same: Mapping[str, str], ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of what stands before a limit; one limit may stand before another."""
    found = {}
    for name in same:
        after = same[name]
        while after in same:
            after = same[after]
        if after in ranges:
            found[name] = ranges[after]
    return found
