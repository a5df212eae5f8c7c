"""The exported graph on photos, in the runtime that serves it: what is measured is what will answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from photo import Preprocessing, prepare
from photos.batches import read_ahead, stacked
from shards import Sample

_BATCH: Final = 8
Logits = NDArray[np.float32]


def run_graph(graph: Path, photos: Sequence[Sample], preprocessing: Preprocessing) -> Logits:
    """Logits [N, outputs] of every photo, in order. Raises PhotoError for a photo that cannot be read."""
    import openvino

    core = openvino.Core()
    # As the server does: an answer must not depend on whether this machine happens to compute in bfloat16.
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(graph), "CPU", hints)
    pixels = read_ahead(
        lambda row: prepare(photos[row].photo, preprocessing), range(len(photos)), threads=2, ahead=4 * _BATCH
    )
    return np.concatenate([np.array(compiled(batch)[0]) for batch in stacked(pixels, _BATCH)])
