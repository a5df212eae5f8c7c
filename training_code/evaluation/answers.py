"""The answer for each test photo, in a file beside evaluation.json: the endpoint gives the same for the same bytes.

One line for each photo, as the endpoint writes its answers, after the photo's id and recorded quantity:

    {"id": "00231", "recorded": 3, "count": 2, "probabilities": {"1": 0.101283, ...}, "expected_count": 2.3, ...}

The whole data set has about 50,000 test photos: eight megabytes, too much for evaluation.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.answers import Answer, as_fields

ANSWERS_NAME: Final = "answers.jsonl"


@dataclass(frozen=True)
class AnswerFile:
    """The file's entry in evaluation.json."""

    file: str
    photos: int
    sha256: str


def write_answers(folder: Path, rows: Iterable[tuple[str, int, Answer]]) -> AnswerFile:
    """Write (id, recorded quantity, answer) of each photo, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    digest, photos = hashlib.sha256(), 0
    with (folder / ANSWERS_NAME).open("wb") as stream:
        for image_id, recorded, answer in rows:
            line = json.dumps({"id": image_id, "recorded": recorded, **as_fields(answer)}).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            photos += 1
    return AnswerFile(ANSWERS_NAME, photos, digest.hexdigest())
