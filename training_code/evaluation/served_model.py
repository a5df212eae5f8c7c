"""A model as it answers in production: its archive, loaded and run by the endpoint's code.

So evaluation measures what callers get: the same checks of the archive, pixels, runtime, precision and probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from evaluation.count_metrics import Floats
from inference import CountingModel
from jobs.container import JobError
from photos.batches import read_ahead
from serving.answers import Answer
from serving.artefact import Artefact, ArtefactError, Description, unpack
from serving.cores import inference_threads
from serving.network import ModelError, Network
from serving.refusals import Refusal
from shards import Sample, ShardError

Logits = NDArray[np.float32]


class ServedModel:
    """The model in a folder of model.onnx and serving.json. Raises JobError where the endpoint would not load it.

    Every core has a network with one thread, and all are compiled at once. The endpoint's has more threads; their
    number does not change an answer, nor do the photos beside one. Those of `compiled` are taken over where it has the
    same graph, byte by byte, and computes it in the same precision: to compile takes longer than to answer some
    hundred photos.
    """

    def __init__(self, folder: Path, compiled: ServedModel | None = None) -> None:
        try:
            artefact = Artefact.read(folder)
            self._compiled_from = _compiled_from(artefact)
            if compiled is not None and compiled._compiled_from == self._compiled_from:
                self._networks: list[Network] = compiled._networks
            else:
                self._networks = Network.of_one_thread_each(artefact, inference_threads())
        except ArtefactError as error:
            raise JobError(f"the endpoint would refuse this model: {error}") from error
        self._counters = [CountingModel(artefact, network) for network in self._networks]

    @classmethod
    def of_archive(cls, archive: Path, folder: Path, compiled: ServedModel | None = None) -> ServedModel:
        """The model in a model.tar.gz, unpacked into `folder`, which must not exist. Raises JobError as above."""
        try:
            unpack(archive, folder)
        except ArtefactError as error:
            raise JobError(f"the endpoint would refuse this model: {error}") from error
        return cls(folder, compiled)

    @property
    def description(self) -> Description:
        """The description in serving.json."""
        return self._counters[0].description

    @property
    def identity(self) -> dict[str, str]:
        """The precision and the first digits of model.onnx's SHA-256, as in each of the endpoint's answers."""
        return {name: value for name, value in self._counters[0].identity.items() if name != "package"}

    @property
    def seal(self) -> str:
        """The digest of serving.json, which names that of the graph."""
        return self._counters[0].seal

    def scores(self, photos: Sequence[Sample]) -> Logits:
        """Logits [N, classes] of photos in their order. Raises JobError for one that the endpoint would not answer."""
        idle: SimpleQueue[CountingModel] = SimpleQueue()
        for counter in self._counters:
            idle.put(counter)

        def score(row: int) -> Logits:
            counter = idle.get()
            try:
                return _score(counter, photos[row])
            except ShardError as error:
                raise JobError(f"{error}; ingest again") from error
            finally:
                idle.put(counter)

        workers = len(self._counters)
        found = list(read_ahead(score, range(len(photos)), threads=workers, ahead=4 * workers))
        return np.array(found, dtype=np.float32).reshape(len(photos), len(self.description.classes))

    def answers(self, photos: Sequence[Sample]) -> list[Answer]:
        """The endpoint's answer for each photo. Raises JobError as `scores` does."""
        return [self._counters[0].answer(row) for row in self.scores(photos)]


def probabilities_of(answers: Sequence[Answer]) -> Floats:
    """[N, classes] probabilities of answers of one model, unrounded."""
    return np.array([list(answer.probabilities.values()) for answer in answers], dtype=np.float64)


def _compiled_from(artefact: Artefact) -> tuple[object, ...]:
    """Everything of an artefact that its compiled network depends on."""
    described = artefact.description
    return artefact.digest, described.precision, described.preprocessing.crop, len(described.classes)


def _score(counter: CountingModel, sample: Sample) -> Logits:
    prepared = counter.prepare(sample.photo)
    if isinstance(prepared, Refusal):
        raise JobError(f"photo {sample.id} of the shards cannot be read ({prepared.message}); ingest again")
    try:
        scores: Logits = counter.logits(prepared[np.newaxis])[0]
    except ModelError as error:
        raise JobError(f"the model fails on photo {sample.id}: {error}; train again") from error
    return scores
