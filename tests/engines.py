"""Graphs and engines that tests share: each model is exported once in a process, and each graph compiled once.

Where a test asks nothing of exporting and compiling, they were most of its time.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest

import arithmetic
import evaluate
from evaluation import served_model
from features import frozen_backbone
from jobs.tensor_files import digest_of_tensors
from modelling.bin_model import BinModel
from modelling.onnx_export import export_features, export_logits
from modelling.openvino_graph import OpenvinoGraph
from serving.artefact import Artefact
from serving.network import Network

_EXPORTS = {"features": export_features, "logits": export_logits}
_graphs: dict[object, bytes] = {}
_networks: dict[object, Network] = {}


def share_exports_of_evaluate(patch: pytest.MonkeyPatch) -> None:
    """Let Evaluate export each model once."""
    patch.setattr(evaluate, "export_logits", lambda model, path: _exported("logits", model, path))


def share_networks_of_evaluate(patch: pytest.MonkeyPatch) -> None:
    """Let Evaluate compile each graph once, for one core."""
    patch.setattr(served_model, "inference_threads", lambda: 1)
    patch.setattr(Network, "of_one_thread_each", lambda artefact, _count: [_network(artefact)])


def share_engines_of_embed(patch: pytest.MonkeyPatch) -> None:
    """Let Embed export each backbone once, and compile each graph once."""
    patch.setattr(frozen_backbone, "export_features", lambda model, path: _exported("features", model, path))
    patch.setattr(frozen_backbone, "OpenvinoGraph", lambda path, floats: _engine(_Content(path), floats))


def _exported(kind: str, model: BinModel, path: Path) -> None:
    backbone = model.backbone
    # All that the graph is made of.
    tensors = digest_of_tensors(model.state_dict())
    key = (kind, tensors, backbone.name, backbone.features, model.preprocessing, str(model.head))
    if key not in _graphs:
        _EXPORTS[kind](model, path)
        _graphs[key] = path.read_bytes()
    path.write_bytes(_graphs[key])


def _network(artefact: Artefact) -> Network:
    # All that the network takes from the archive, which is read and checked each time.
    taken = (artefact.description.preprocessing.crop, len(artefact.description.classes))
    key = (artefact.digest, artefact.description.precision, taken, arithmetic.floats_of_cpu())
    if key not in _networks:
        _networks[key] = Network(artefact, threads=1)
    return _networks[key]


class _Content:
    """A file that equals another of the same bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = hashlib.sha256(path.read_bytes()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and other._digest == self._digest

    def __hash__(self) -> int:
        return hash(self._digest)


@cache
def _engine(graph: _Content, floats: str) -> OpenvinoGraph:
    return OpenvinoGraph(graph.path, floats)
