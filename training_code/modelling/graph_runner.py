"""The exported graph on photos, in the runtime that serves it: what is measured is what will answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modelling.openvino_graph import BATCH, OpenvinoGraph
from photo import Preprocessing, prepare
from photos.batches import read_ahead, stacked
from shards import Sample

Logits = NDArray[np.float32]


def run_graph(graph: Path, photos: Sequence[Sample], preprocessing: Preprocessing) -> Logits:
    """Logits [N, outputs] of every photo, in order. Raises PhotoError for a photo that cannot be read."""
    # fp32 as the server: an answer must not depend on whether this machine happens to compute in bfloat16.
    compiled = OpenvinoGraph(graph, "fp32")
    pixels = read_ahead(
        lambda row: prepare(photos[row].photo, preprocessing), range(len(photos)), threads=2, ahead=4 * BATCH
    )
    return np.concatenate(list(compiled.run(stacked(pixels, BATCH))))
