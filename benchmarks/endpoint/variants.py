"""Other networks behind our own server: eager PyTorch and ONNX Runtime, everything else equal.

python -m benchmarks.endpoint.variants eager MODELS_FOLDER --port 8081
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.endpoint.models import Models, load_network
from inference import CountingModel, Scorer
from server import self_test, serve
from serving.admission import AdmissionLimits
from serving.artefact import Artefact
from serving.network import Logits, Photos


class Eager:
    """PyTorch as it comes: fp32, its own choice of threads."""

    def __init__(self, models: Models) -> None:
        import torch

        self._torch = torch
        self._network = load_network(models)
        self._mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
        self._std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255

    def logits(self, photos: Photos) -> Logits:
        """Scores of a batch."""
        with self._torch.inference_mode():
            pixels = self._torch.from_numpy(photos).permute(0, 3, 1, 2).float()
            scores: Logits = self._network((pixels - self._mean) / self._std).numpy()
        return scores


class OnnxRuntime:
    """ONNX Runtime on one of the graphs, its own choice of threads."""

    def __init__(self, graph: Path) -> None:
        import onnxruntime

        self._session: Any = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def logits(self, photos: Photos) -> Logits:
        """Scores of a batch."""
        return np.asarray(self._session.run(None, {"photos": photos})[0])


def main() -> None:
    """Serve the chosen network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=["eager", "onnxruntime-fp32", "onnxruntime-int8"])
    parser.add_argument("models", type=Path)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    models = Models.in_folder(options.models)
    artefact = Artefact.read(models.int8 if options.network.endswith("int8") else models.fp32)
    network: Scorer
    if options.network == "eager":
        network = Eager(models)
    else:
        network = OnnxRuntime((models.int8 if options.network.endswith("int8") else models.fp32) / "model.onnx")
    counter = CountingModel(artefact, network)
    self_test(counter)
    serve(counter, AdmissionLimits(), options.port)


if __name__ == "__main__":
    main()
