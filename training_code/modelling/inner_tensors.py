"""What a graph computes on the way to its answer: any of its tensors, on photos, on every core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from arithmetic import compile_graph
from modelling.onnx_export import INPUT

Pixels = NDArray[np.uint8]
_STREAMS: Final = "OPTIMAL_NUMBER_OF_INFER_REQUESTS"


def inner_tensors(model: Any, wanted: Sequence[str], photos: Sequence[Pixels]) -> Iterator[list[NDArray[np.float32]]]:
    """The float tensors of these names for each batch of photos uint8 [N, S, S, 3], in their order.

    Computed by OpenVINO, as what is served is. ONNX Runtime 1.31 loses a ReLU6 that is left to the limits of uint8
    where a layer in floats comes next. Batches run side by side, one to a core.
    """
    import onnx
    from onnx import helper

    from silent_openvino import openvino

    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.ClearField("output")
    asked.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in wanted)
    core = openvino.Core()
    graph = core.read_model(asked.SerializeToString())
    compiled = compile_graph(core, graph, "fp32", {"PERFORMANCE_HINT": "THROUGHPUT"})
    workers = min(int(compiled.get_property(_STREAMS)), len(photos))
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(workers):
        idle.put(compiled.create_infer_request())

    def compute(batch: Pixels) -> list[NDArray[np.float32]]:
        request = idle.get()
        try:
            found = request.infer({INPUT: batch})
            return [np.array(found[name]) for name in wanted]
        finally:
            idle.put(request)

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(compute, photos)
