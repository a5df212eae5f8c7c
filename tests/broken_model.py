"""ONNX models that load, and answer some photos with an error."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

BRIGHT = 230
"""A grey level at which `broken_on_bright_photos` answers 500."""


def broken_on_bright_photos() -> bytes:
    """A graph that passes the self-test and gives no number for a bright photo: the server answers 500."""
    nodes = [
        helper.make_node("Cast", ["photos"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["limit", "mean"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),
        helper.make_node("Unsqueeze", ["root", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "weights"], ["logits"]),
    ]
    return graph(nodes, limit=np.float32(BRIGHT - 30), axis=np.array([1]), weights=np.ones((1, 5), np.float32))


def graph(nodes: list[Any], **constants: Any) -> bytes:
    """model.onnx of these nodes, from photos of 224 pixels to logits."""
    made = helper.make_graph(
        nodes,
        "broken",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["n", 224, 224, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
