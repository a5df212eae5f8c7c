"""A small evaluated model on drawn photos, for tests of the report and its page."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from evaluation.bootstrap import REPLICATES
from evaluation.calibration import fit_temperature
from evaluation.count_metrics import Predictions
from evaluation.gate import GateSettings
from evaluation.verdict import Evaluation, evaluate
from shards import Sample

CLASSES = (1, 2, 3, 4, 5)


def drawn_photo(seed: int, brightness: int, *, times: int = 1) -> bytes:
    """A noisy grey JPEG, 64 by 80 pixels or `times` as large, around `brightness` (0 to 255)."""
    noise = np.random.default_rng(seed).normal(brightness, 20, size=(64, 80, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(noise)
    image.resize((times * image.width, times * image.height), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def samples(count: int, seed: int = 0) -> list[Sample]:
    """`count` labelled photos; every third has no SKUs recorded, brightness runs from dark to light."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        quantity = int(generator.integers(1, 6))
        items = () if number % 3 == 0 else tuple(f"B{generator.integers(0, 20):09d}" for _ in range(quantity))
        photo = drawn_photo(number, 30 + (200 * number) // count)
        found.append(Sample(id=f"{number * 7:05d}", photo=photo, count=quantity, items=items))
    return found


def predictions_for(photos: list[Sample], skill: float, seed: int = 1) -> Predictions:
    """Answers that lean towards the truth by `skill`; photos of one hundred ids are one block."""
    generator = np.random.default_rng(seed)
    labels = np.array([photo.count for photo in photos])
    logits = generator.normal(size=(len(photos), 5))
    logits[np.arange(len(photos)), labels - 1] += skill
    exponentials = np.exp(logits)
    blocks = [int(photo.id) // 100 for photo in photos]
    return Predictions.of(labels, exponentials / exponentials.sum(axis=1, keepdims=True), blocks, classes=CLASSES)


def evaluated(
    photos: list[Sample],
    *,
    skill: float = 1.5,
    champion_skill: float | None = None,
    threshold: float = 0.2,
    replicates: int = REPLICATES,
    lineage: dict[str, str] | None = None,
) -> Evaluation:
    """An evaluation of a model of `skill` against a champion, when one is given."""
    test = predictions_for(photos, skill)
    return evaluate(
        test=test,
        photos=photos,
        training_labels=[3, 3, 2, 4, 5, 1],
        # The logarithms of probabilities are logits that give them.
        temperature=fit_temperature(np.log(test.probabilities), test.labels, classes=CLASSES),
        gate=GateSettings(accuracy_threshold=threshold, replicates=replicates),
        champion=None if champion_skill is None else predictions_for(photos, champion_skill, seed=2),
        training_skus=frozenset({"B000000003", "B000000004"}),
        lineage=lineage or {"Code version": "0123abc", "Learning rate": "0.01"},
    )
