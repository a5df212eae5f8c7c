"""The measured convolution peak of this machine's processor."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from silent_openvino import openvino

_CHANNELS: Final = 256
_SIDE: Final = 28
_BATCH: Final = 4
_LAYERS: Final = 4
_MACS: Final = _BATCH * _LAYERS * _SIDE**2 * _CHANNELS**2 * 9


def peak_gmacs(precision: str, *, threads: int, seconds: float = 2.0) -> float:
    """The most thousand million multiply-adds in a second of processor time that 3x3 convolutions reached.

    Processor time, not the clock: on a busy machine the clock measures the others. `precision` is fp32 or int8.
    """
    core = openvino.Core()
    model = core.read_model(_chain(precision).SerializeToString())
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    pixels = np.random.default_rng(0).random((_BATCH, _CHANNELS, _SIDE, _SIDE), dtype=np.float32)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.process_time()
        request.infer({0: pixels}, share_inputs=True)
        best = min(best, time.process_time() - begun)
    return _MACS / best / 1e9


def _chain(precision: str) -> ModelProto:
    random = np.random.default_rng(0)
    shape = [_BATCH, _CHANNELS, _SIDE, _SIDE]
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = [
        numpy_helper.from_array(np.array(0.02, dtype=np.float32), "scale"),
        numpy_helper.from_array(np.array(0, dtype=np.uint8), "zero"),
        numpy_helper.from_array(np.full(_CHANNELS, 0.0005, dtype=np.float32), "weight_scale"),
        numpy_helper.from_array(np.zeros(_CHANNELS, dtype=np.int8), "weight_zero"),
    ]
    name = "input"
    for layer in range(_LAYERS):
        weights = random.integers(-63, 64, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.int8)
        if precision == "int8":
            constants.append(numpy_helper.from_array(weights, f"w{layer}"))
            nodes += [
                helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"q{layer}"]),
                helper.make_node("DequantizeLinear", [f"q{layer}", "scale", "zero"], [f"x{layer}"]),
                helper.make_node(
                    "DequantizeLinear", [f"w{layer}", "weight_scale", "weight_zero"], [f"k{layer}"], axis=0
                ),
            ]
            operands = [f"x{layer}", f"k{layer}"]
        else:
            constants.append(numpy_helper.from_array(weights.astype(np.float32) * np.float32(0.0005), f"k{layer}"))
            operands = [name, f"k{layer}"]
        nodes.append(helper.make_node("Conv", operands, [f"c{layer}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        name = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
