"""A network's weights in a file that has no name, from which the kernel can read them again.

OpenVINO packs the weights for this processor, and keeps the original ones beside them: 95 MB of a ResNet50 in fp32.
They are read again only to be packed for another shape. So they lie in a file that is mapped into memory, and their
pages are given back once the network has answered.
"""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from silent_openvino import openvino


class MappedWeights:
    """The weights of a graph. The graph reads them here, so this must live as long as the graph."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    @classmethod
    def of(cls, core: openvino.Core, graph: openvino.Model) -> tuple[openvino.Model, MappedWeights]:
        """The same graph with its weights in a file.

        Raises OSError, ValueError or RuntimeError where no such file can be written, or the graph has no weights.
        """
        with tempfile.TemporaryDirectory(prefix="binventory-weights-") as folder:
            structure, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
            # Otherwise they would be rounded to fp16.
            openvino.save_model(graph, structure, compress_to_fp16=False)
            # Private, because OpenVINO takes no memory that is read-only; it writes nothing there.
            with weights.open("rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            tensor = openvino.Tensor(np.frombuffer(memory, dtype=np.uint8), shared_memory=True)
            return core.read_model(structure.read_bytes(), tensor), cls(memory)

    def give_back(self) -> None:
        """Let the kernel have the memory; what is read again comes from the file."""
        advice: Any = getattr(mmap, "MADV_DONTNEED", None)
        if advice is not None:
            self._memory.madvise(advice)
