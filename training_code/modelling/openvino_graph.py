"""A graph of bytes in, numbers out, run by OpenVINO on every core of this machine at its arithmetic limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from arithmetic import compile_graph

Photos = NDArray[np.uint8]
BATCH: Final = 8
"""Photos a request. Measured on two cores from 4 to 16: the engine is at the limit of the machine with any of them."""
_STREAMS: Final = "OPTIMAL_NUMBER_OF_INFER_REQUESTS"


class OpenvinoGraph:
    """A compiled ONNX graph of one input uint8 [N, S, S, 3] and one output float32 [N, width].

    `floats` is fp32 or bf16, and one that this processor has.

    Requests run side by side, one to a core, because one request spread over the cores leaves them waiting for each
    other after every layer: a third of their time on two cores.
    """

    def __init__(self, path: Path, floats: str) -> None:
        from silent_openvino import openvino

        core = openvino.Core()
        self._compiled = compile_graph(core, core.read_model(path), floats, {"PERFORMANCE_HINT": "THROUGHPUT"})

    def run(self, batches: Iterable[Photos]) -> Iterator[NDArray[np.float32]]:
        """Answers [N, width] in the order of the batches, with one batch in flight on each stream.

        No callbacks: one that is still returning while the queue is dropped deadlocks on the interpreter's lock.
        """
        idle = [self._compiled.create_infer_request() for _ in range(int(self._compiled.get_property(_STREAMS)))]
        busy: deque[Any] = deque()

        def oldest() -> NDArray[np.float32]:
            request = busy.popleft()
            request.wait()
            idle.append(request)
            answer: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
            return answer

        for batch in batches:
            if not idle:
                yield oldest()
            request = idle.pop()
            # The input is shared, not copied: its producer does not touch it again.
            request.start_async({0: batch}, share_inputs=True)
            busy.append(request)
        while busy:
            yield oldest()
