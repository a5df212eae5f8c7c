"""The network in its runtime, OpenVINO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from arithmetic import PrecisionError, compile_graph, floats_of_cpu, floats_of_graph
from serving.artefact import DESCRIPTION_FILE, MODEL_FILE, Artefact, ArtefactError
from serving.weights import MappedWeights
from silent_openvino import openvino

Photos = NDArray[np.uint8]
Logits = NDArray[np.float32]
# Lines of OpenVINO's messages that name a place in its own sources.
_PLACE: Final = re.compile(r"(Exception from|Check '.*' failed at) \S+:")
_LONGEST_CAUSE: Final = 300


class ModelError(Exception):
    """The loaded model fails on photos that it should accept: a fault of the artefact, not of the request."""


class Network:
    """The compiled graph. It takes one call at a time, because it has one inference request; the caller queues.

    It is compiled for exactly one photo, and several photos go through it one after the other. So a photo's scores do
    not depend on the photos beside it, and OpenVINO plans memory and kernels once: a graph for any number of photos
    looks them up in every call, which costs EfficientNet-Lite0 a third of its time, even with eight photos in a batch.
    """

    def __init__(self, artefact: Artefact, *, threads: int) -> None:
        self._use(_compiled(artefact, {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}))

    @classmethod
    def of_one_thread_each(cls, artefact: Artefact, count: int) -> list[Network]:
        """So many networks that answer side by side, each in one thread, as with `threads=1`.

        The graph is compiled once for all of them. Raises ArtefactError.
        """
        compiled = _compiled(artefact, {"NUM_STREAMS": count, "INFERENCE_NUM_THREADS": count})
        networks = [cls.__new__(cls) for _ in range(count)]
        for network in networks:
            network._use(compiled)
        return networks

    def _use(self, compiled: _Compiled) -> None:
        self._outputs = compiled.outputs
        self._weights = compiled.weights
        self._weights_are_new = True
        self._request = compiled.graph.create_infer_request()

    def logits(self, photos: Photos) -> Logits:
        """Scores [N, classes] for uint8 photos [N, crop, crop, 3]. Raises ModelError if the graph fails."""
        scores = np.empty((len(photos), self._outputs), dtype=np.float32)
        for row in range(len(photos)):
            scores[row] = self._one(photos[row : row + 1])
        return scores

    def _one(self, photo: Photos) -> Logits:
        try:
            found = self._request.infer({0: photo}, share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            raise ModelError(f"the graph fails: {_cause(error)}") from error
        if self._weights_are_new and self._weights is not None:
            self._weights_are_new = False
            self._weights.give_back()
        if found.shape != (1, self._outputs):
            raise ModelError(f"the graph gave scores {found.shape} for one photo")
        if not np.isfinite(found).all():
            raise ModelError("the graph gave scores that are no numbers")
        scores: Logits = found[0]
        return scores


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A graph for one photo, its weights where they lie in a file, and how many scores it gives."""

    graph: Any
    weights: MappedWeights | None
    outputs: int


def _compiled(artefact: Artefact, properties: Mapping[str, Any]) -> _Compiled:
    """The compiled graph of an artefact. Raises ArtefactError where it cannot be compiled as it is described."""
    outputs, crop = len(artefact.description.classes), artefact.description.preprocessing.crop
    try:
        core = openvino.Core()
        graph = core.read_model(artefact.graph)
        _check_interface(graph, crop, outputs)
        graph, weights = _with_mapped_weights(core, graph)
        graph.reshape([1, crop, crop, 3])
        floats = floats_of_graph(artefact.description.precision, floats_of_cpu())
        return _Compiled(compile_graph(core, graph, floats, properties), weights, outputs)
    except PrecisionError as error:
        raise ArtefactError(f"{DESCRIPTION_FILE}: {error}") from error
    except RuntimeError as error:
        raise ArtefactError(f"{MODEL_FILE} cannot be loaded: {_cause(error)}") from error


def _check_interface(graph: openvino.Model, crop: int, outputs: int) -> None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ArtefactError(f"{MODEL_FILE} must have one input and one output")
    taken, given = graph.inputs[0], graph.outputs[0]
    expected = openvino.PartialShape([-1, crop, crop, 3])
    if taken.element_type != openvino.Type.u8 or not taken.partial_shape.same_scheme(expected):
        raise ArtefactError(
            f"{MODEL_FILE} takes {taken.element_type.get_type_name()} {taken.partial_shape}, "
            f"it must take uint8 {expected}"
        )
    if not given.partial_shape.compatible(openvino.PartialShape([-1, outputs])):
        raise ArtefactError(f"{MODEL_FILE} gives {given.partial_shape}, but there are {outputs} classes")


def _cause(error: RuntimeError) -> str:
    """What OpenVINO says, in one line."""
    lines = (line.strip() for line in str(error).splitlines())
    said = "; ".join(line for line in lines if line and not _PLACE.fullmatch(line))
    return said[:_LONGEST_CAUSE] or type(error).__name__


def _with_mapped_weights(core: openvino.Core, graph: openvino.Model) -> tuple[openvino.Model, MappedWeights | None]:
    """The graph with its weights in a file; the given one where the temporary folder takes no file."""
    try:
        return MappedWeights.of(core, graph)
    except (OSError, ValueError, RuntimeError):
        return graph, None
