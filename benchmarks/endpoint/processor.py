"""What this machine's processor is and can do: its name, its vector units, its measured convolution peak."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from silent_openvino import openvino

_FEATURES: Final = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
_CHANNELS: Final = 256
_SIDE: Final = 28
_BATCH: Final = 4
_LAYERS: Final = 4
_MACS: Final = _BATCH * _LAYERS * _SIDE**2 * _CHANNELS**2 * 9


@dataclass(frozen=True)
class Processor:
    """As the kernel describes it."""

    name: str
    cpus: int
    features: dict[str, bool]

    @property
    def has_int8_products(self) -> bool:
        """Whether the processor has instructions for int8 (VNNI or AMX), as those of ml.m5 have."""
        return self.features["avx512_vnni"] or self.features["avx_vnni"] or self.features["amx_int8"]


def this_processor() -> Processor:
    """From /proc/cpuinfo."""
    text = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    cpus = text.count("processor\t:")
    return Processor(fields.get("model name", "unknown"), cpus, {feature: feature in flags for feature in _FEATURES})


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
