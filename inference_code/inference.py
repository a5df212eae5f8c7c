"""The four functions of a SageMaker model: load it, read a request, answer it, write the answer.

They work without the server, as SageMaker's toolkits call them; the server calls the same pieces concurrently.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cores import inference_threads
from photo import DEFAULT_MAX_PIXELS, PhotoError, check_size, prepare, prepare_image
from request_formats import CSV, JSON, JSON_LINES, Photo, RequestError, choose_answer, parse_photos
from served_model import Answer, Artefact, Description, Logits, Network, Photos, answer


@dataclass(frozen=True)
class Refusal:
    """Why one photo of a request has no answer; `reason` is a stable code."""

    reason: str
    message: str


@dataclass(frozen=True)
class Reading:
    """A request's photos and the shape its answer takes."""

    photos: tuple[Photo, ...]
    batch: bool


@dataclass(frozen=True)
class Prediction:
    """One result per photo, in the request's order, and what produced them."""

    results: tuple[Answer | Refusal, ...]
    batch: bool
    model: dict[str, str]
    latency_ms: dict[str, float]


class Counter:
    """The loaded model: from encoded photos to answers."""

    def __init__(self, artefact: Artefact, *, threads: int, package: str = "") -> None:
        self.description: Description = artefact.description
        self._network = Network(artefact, threads=threads)
        self.identity = {
            "package": package,
            "precision": artefact.description.precision,
            "sha256": artefact.digest[:16],
        }

    def prepare(self, photo: Photo) -> Photos | Refusal:
        """The network's input [crop, crop, 3] for one photo, or why there is none."""
        try:
            if isinstance(photo, bytes):
                return prepare(photo, self.description.preprocessing)
            height, width = photo.shape[:2]
            check_size((width, height), DEFAULT_MAX_PIXELS)
            return prepare_image(Image.fromarray(photo), self.description.preprocessing)
        except PhotoError as error:
            return Refusal(error.reason, str(error))

    def logits(self, batch: Photos) -> Logits:
        """Scores [N, classes]; one call at a time."""
        return self._network.logits(batch)

    def answer(self, scores: Logits) -> Answer:
        """What one photo's scores [classes] mean."""
        return answer(scores, self.description)


def model_fn(model_dir: str | Path, *, package: str = "", threads: int | None = None) -> Counter:
    """Load and check the artefact in `model_dir`. Raises ArtefactError."""
    return Counter(Artefact.read(Path(model_dir)), threads=threads or inference_threads(), package=package)


def input_fn(request_body: bytes, content_type: str) -> Reading:
    """The photos of a request. Raises RequestError."""
    photos, batch = parse_photos(request_body, content_type)
    return Reading(tuple(photos), batch)


def predict_fn(reading: Reading, model: Counter) -> Prediction:
    """Answer every photo of a request, refusing those that cannot be read."""
    prepared = [model.prepare(photo) for photo in reading.photos]
    readable = [photo for photo in prepared if not isinstance(photo, Refusal)]
    scores = iter(model.logits(np.stack(readable)) if readable else ())
    results = tuple(photo if isinstance(photo, Refusal) else model.answer(next(scores)) for photo in prepared)
    return Prediction(results, reading.batch, model.identity, {})


def output_fn(prediction: Prediction, accept: str) -> tuple[bytes, str]:
    """The answer's bytes and their media type.

    Raises RequestError when no acceptable form exists, and when not one photo could be read (400 or 413).
    """
    media_type, header = choose_answer(accept)
    refusals = [result for result in prediction.results if isinstance(result, Refusal)]
    if len(refusals) == len(prediction.results):
        first = refusals[0]
        raise RequestError(413 if first.reason == "too_many_bytes" else 400, first.reason, first.message)
    return _WRITERS[media_type](prediction, header), media_type


def _fields(result: Answer | Refusal) -> dict[str, Any]:
    if isinstance(result, Refusal):
        return {"error": {"reason": result.reason, "message": result.message}}
    return {
        "count": result.count,
        "probabilities": {str(count): round(share, 6) for count, share in result.probabilities.items()},
        "expected_count": round(result.expected_count, 4),
        "entropy": round(result.entropy, 4),
    }


def _origin(prediction: Prediction) -> dict[str, Any]:
    latency = {part: round(value, 3) for part, value in prediction.latency_ms.items()}
    return {"model": prediction.model, "latency_ms": latency}


def _as_json(prediction: Prediction, _header: bool) -> bytes:
    if prediction.batch:
        document = {"predictions": [_fields(result) for result in prediction.results], **_origin(prediction)}
    else:
        document = {**_fields(prediction.results[0]), **_origin(prediction)}
    return json.dumps(document).encode() + b"\n"


def _as_json_lines(prediction: Prediction, _header: bool) -> bytes:
    origin = _origin(prediction)
    return b"".join(json.dumps({**_fields(result), **origin}).encode() + b"\n" for result in prediction.results)


def _as_csv(prediction: Prediction, header: bool) -> bytes:
    classes = next(tuple(result.probabilities) for result in prediction.results if isinstance(result, Answer))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if header:
        rows.writerow(["count", "expected_count", "entropy", "error", *(f"probability_{count}" for count in classes)])
    rows.writerows(_row(result, classes) for result in prediction.results)
    return text.getvalue().encode()


def _row(result: Answer | Refusal, classes: Sequence[int]) -> list[str]:
    if isinstance(result, Refusal):
        return ["", "", "", result.reason, *("" for _ in classes)]
    shares = (f"{result.probabilities[count]:.6f}" for count in classes)
    return [str(result.count), f"{result.expected_count:.4f}", f"{result.entropy:.4f}", "", *shares]


_WRITERS = {JSON: _as_json, JSON_LINES: _as_json_lines, CSV: _as_csv}
