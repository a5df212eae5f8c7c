"""Answers: the numbers for one photo, and the media types in which they are written."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from serving.answer_rule import answered
from serving.artefact import Description
from serving.network import Logits
from serving.refusals import Refusal
from serving.requests import CSV, JSON, JSON_LINES, choose_answer


@dataclass(frozen=True)
class Answer:
    """The answer for one photo: the count by the model's answer rule, probabilities by count, entropy in nats."""

    count: int
    probabilities: dict[int, float]
    expected_count: float
    entropy: float

    @property
    def confidence(self) -> float:
        """The probability of the answered count."""
        return self.probabilities[self.count]


def answer(scores: Logits, description: Description) -> Answer:
    """Calibrated probabilities from one photo's scores [classes]."""
    scaled = scores.astype(np.float64) / description.temperature
    weights = np.exp(scaled - scaled.max())
    normalised = weights / weights.sum()
    shares = cast("list[float]", normalised.tolist())
    by_count = dict(zip(description.classes, shares, strict=True))
    return Answer(
        count=description.classes[int(answered(normalised, description.answer))],
        probabilities=by_count,
        expected_count=sum(count * share for count, share in by_count.items()),
        entropy=-sum(share * math.log(share) for share in shares if share > 0),
    )


@dataclass(frozen=True)
class Prediction:
    """One result for each photo, in the request's order, and the model that produced them."""

    results: tuple[Answer | Refusal, ...]
    batch: bool
    model: dict[str, str]
    latency_ms: dict[str, float]


def write(prediction: Prediction, accept: str) -> tuple[bytes, str]:
    """The answer's bytes and their media type.

    Raises RequestError when no acceptable form exists, and when not one photo could be read (400, 413 or 415).
    """
    media_type, header = choose_answer(accept)
    refusals = [result for result in prediction.results if isinstance(result, Refusal)]
    if len(refusals) == len(prediction.results):
        raise refusals[0].as_error()
    return _WRITERS[media_type](prediction, header), media_type


def as_fields(result: Answer | Refusal) -> dict[str, Any]:
    """A result as fields of JSON, rounded."""
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
        document = {"predictions": [as_fields(result) for result in prediction.results], **_origin(prediction)}
    else:
        document = {**as_fields(prediction.results[0]), **_origin(prediction)}
    return json.dumps(document).encode() + b"\n"


def _as_json_lines(prediction: Prediction, _header: bool) -> bytes:
    origin = _origin(prediction)
    return b"".join(json.dumps({**as_fields(result), **origin}).encode() + b"\n" for result in prediction.results)


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
