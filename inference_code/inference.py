"""The four functions of a SageMaker model: load it, read a request, answer it, write the answer.

SageMaker's toolkits call them without the server; the server calls the same parts concurrently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from photo import PhotoError, check_size, is_large, prepare_image, read_header
from photo_upright import Upright
from serving.answers import Answer, Prediction, answer, write
from serving.artefact import Artefact, Description
from serving.cores import inference_threads
from serving.network import Logits, Network, Photos
from serving.refusals import Refusal
from serving.requests import Photo, parse_photos


@dataclass(frozen=True)
class Reading:
    """The photos of a request, refusals in the place of those that it does not hold, and whether it is a batch."""

    photos: tuple[Photo | Refusal, ...]
    batch: bool


@dataclass(frozen=True)
class Opened:
    """A photo that has been checked. `decode`, which works once, gives its image or raises PhotoError."""

    large: bool
    """Whether photos like this one should be decoded in turn, for their time and memory."""
    decode: Callable[[], Upright]


class Scorer(Protocol):
    """A network: scores [N, classes] for uint8 photos [N, crop, crop, 3], one call at a time."""

    def logits(self, photos: Photos) -> Logits:
        """Raises ModelError."""


class CountingModel:
    """The loaded model: from encoded photos to answers."""

    def __init__(self, artefact: Artefact, network: Scorer, *, package: str = "") -> None:
        self.description: Description = artefact.description
        self.seal = artefact.seal
        self._network = network
        self.identity = {
            "package": package,
            "precision": artefact.description.precision,
            "sha256": artefact.digest[:16],
        }

    def open(self, photo: Photo) -> Opened | Refusal:
        """Check one photo and decode nothing; or why it cannot be counted."""
        try:
            if isinstance(photo, bytes):
                header = read_header(photo, needed_side=self.description.preprocessing.needed_side)
                return Opened(header.large, header.decode)
            height, width = photo.shape[:2]
            check_size((width, height))
            return Opened(is_large(width * height), lambda: Upright(Image.fromarray(photo)))
        except PhotoError as error:
            return Refusal(error.reason, str(error))

    def decode(self, opened: Opened) -> Photos | Refusal:
        """The network's input [crop, crop, 3] for an opened photo, or why there is none."""
        try:
            return prepare_image(opened.decode(), self.description.preprocessing)
        except PhotoError as error:
            return Refusal(error.reason, str(error))

    def prepare(self, photo: Photo) -> Photos | Refusal:
        """The network's input [crop, crop, 3] for one photo, or why there is none."""
        opened = self.open(photo)
        return opened if isinstance(opened, Refusal) else self.decode(opened)

    def logits(self, batch: Photos) -> Logits:
        """Scores [N, classes]; one call at a time."""
        return self._network.logits(batch)

    def answer(self, scores: Logits) -> Answer:
        """The answer for one photo's scores [classes]."""
        return answer(scores, self.description)


def model_fn(model_dir: str | Path, *, package: str = "", threads: int | None = None) -> CountingModel:
    """Load and check the artefact in `model_dir`. Raises ArtefactError."""
    artefact = Artefact.read(Path(model_dir))
    return CountingModel(artefact, Network(artefact, threads=threads or inference_threads()), package=package)


def input_fn(request_body: bytes, content_type: str) -> Reading:
    """The photos of a request. Raises RequestError."""
    photos, batch = parse_photos(request_body, content_type)
    return Reading(tuple(photos), batch)


def predict_fn(reading: Reading, model: CountingModel) -> Prediction:
    """Answer every photo of a request, refusing those that cannot be read."""
    prepared = [photo if isinstance(photo, Refusal) else model.prepare(photo) for photo in reading.photos]
    readable = [photo for photo in prepared if not isinstance(photo, Refusal)]
    scores = iter(model.logits(np.stack(readable)) if readable else ())
    results = tuple(photo if isinstance(photo, Refusal) else model.answer(next(scores)) for photo in prepared)
    return Prediction(results, reading.batch, model.identity, {})


def output_fn(prediction: Prediction, accept: str) -> tuple[bytes, str]:
    """The answer's bytes and their media type. Raises RequestError."""
    return write(prediction, accept)
