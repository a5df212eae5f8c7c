"""Answers for photos whose blocks the answering model has not seen: heads on frozen features, or everything trained.

embed.py and train.py do the work. Their results stay in the cache, under the flags that made them, and a job that was
stopped continues.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.counting.photos import Photos
from benchmarks.held_out import Floats, Mask, head_logits, parts_of, rows_of, run, write_embedding
from evaluation.calibration import fit_temperature, softmax
from evaluation.count_metrics import Predictions
from features.files import FeatureSet, read_split
from modelling.bin_model import load_model
from photo import prepare
from stacks.vocabulary import CLASSES, TRAIN, VALIDATION

_VALIDATION_PARTS: Final = 10
"""Of the blocks that a model may see, one part in so many chooses epoch and temperature."""
_AT_ONCE: Final = 64


@dataclass(frozen=True)
class Recipe:
    """How a model is made."""

    name: str
    embed: tuple[str, ...]
    train: tuple[str, ...]
    answer: str

    def folder(self, parent: Path, *flags: str) -> Path:
        """Where its results are kept: those of other flags are in another place."""
        digest = hashlib.sha256(" ".join([*self.embed, "--", *flags]).encode()).hexdigest()[:8]
        return parent / f"{self.name}-{digest}".replace(" ", "-")


def embedded(recipe: Recipe, photos: Photos, cache: Path) -> FeatureSet:
    """Features of all photos, in their order."""
    folder = recipe.folder(cache / "features")
    if not (folder / "embedding.json").is_file():
        everything = np.ones(len(photos.ids), dtype=bool)
        shards = photos.write(everything, cache / "shards" / "all")
        few = photos.write(everything & (np.arange(len(photos.ids)) < 10), cache / "shards" / "few")
        run("embed.py", "--train", str(shards), "--validation", str(few), "--output", str(folder), *recipe.embed)
    return read_split(folder / "features", TRAIN)


def cross_fitted(recipe: Recipe, photos: Photos, cache: Path, *, folds: int, share: float = 1.0) -> Predictions:
    """Calibrated answers for every photo, by heads that saw neither it nor its block.

    `share` of the blocks that a head may train on are used.
    """
    features = embedded(recipe, photos, cache)
    assert features.ids == photos.ids
    fold = parts_of(photos.blocks, folds, seed=0)
    probabilities = np.zeros((len(photos.ids), len(CLASSES)))
    for number in range(folds):
        held_out = fold == number
        train, validation = _cut(photos, ~held_out, share)
        folder = recipe.folder(cache / "heads", *recipe.train) / f"{folds}-{number}-{share:g}"
        logits = _head_logits(recipe, features, train, validation, folder, cache)
        temperature = fit_temperature(logits[validation], photos.counts[validation], classes=CLASSES)
        probabilities[held_out] = softmax(logits[held_out], temperature.value)
    return Predictions.of(photos.counts, probabilities, photos.blocks, classes=CLASSES, answer=recipe.answer)


def fine_tuned(recipe: Recipe, photos: Photos, cache: Path) -> Predictions:
    """Calibrated answers for a fixed quarter of the blocks, by a network that was trained whole on the others."""
    folder = recipe.folder(cache / "fine-tuned", *recipe.train)
    if not (folder / "model" / "model.json").is_file():
        places = []
        for name, shards in shards_beside_quarter(photos, folder).items():
            places += [f"--{name}", str(shards)]
        kept = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
        run("train.py", "--strategy", "full", *places, *kept, *recipe.train, log=folder / "train.log")
    return answers_for_quarter(folder / "model", photos, recipe.answer)


def shards_beside_quarter(photos: Photos, folder: Path) -> dict[str, Path]:
    """Folders of training and validation shards, by split, of the blocks outside the fixed quarter."""
    train, validation = _cut(photos, ~_quarter(photos), 1.0)
    return {name: photos.write(rows, folder / name) for name, rows in ((TRAIN, train), (VALIDATION, validation))}


def answers_for_quarter(model: Path, photos: Photos, answer: str) -> Predictions:
    """Calibrated answers of a saved model that was trained on `shards_beside_quarter`."""
    held_out = _quarter(photos)
    _, validation = _cut(photos, ~held_out, 1.0)
    logits = _network_logits(model, photos, held_out | validation)
    temperature = fit_temperature(logits[validation], photos.counts[validation], classes=CLASSES)
    shares = softmax(logits[held_out], temperature.value)
    counts, blocks = photos.counts[held_out], photos.blocks[held_out]
    return Predictions.of(counts, shares, blocks, classes=CLASSES, answer=answer)


def on_held_out_quarter(predictions: Predictions, photos: Photos) -> Predictions:
    """Of the answers for all photos, those for the quarter that the fine-tuned network answers."""
    rows = _quarter(photos)
    return Predictions.of(
        predictions.labels[rows], predictions.probabilities[rows], predictions.blocks[rows],
        classes=predictions.classes, answer=predictions.answer,
    )  # fmt: skip


def _quarter(photos: Photos) -> Mask:
    return np.asarray(parts_of(photos.blocks, 4, seed=1) == 0)


def _cut(photos: Photos, seen: Mask, share: float) -> tuple[Mask, Mask]:
    """Training and validation photos among those that may be seen."""
    part = np.full(len(photos.ids), -1)
    part[seen] = parts_of(photos.blocks[seen], _VALIDATION_PARTS, seed=2)
    train = seen & (part > 0)
    if share < 1:
        order = np.full(len(photos.ids), 1.0)
        order[train] = parts_of(photos.blocks[train], 20, seed=3) / 20
        train &= order < share
    return train, part == 0


def _head_logits(
    recipe: Recipe, features: FeatureSet, train: Mask, validation: Mask, folder: Path, cache: Path
) -> Floats:
    """Logits [n, 5] of all photos."""
    if not (folder / "model" / "metrics.json").is_file():
        card = (recipe.folder(cache / "features") / "backbone" / "model.json").read_bytes()
        splits = {TRAIN: rows_of(features, train), VALIDATION: rows_of(features, validation)}
        write_embedding(folder, splits, card)
        kept = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints"), "--artefact", "head"]
        run("train.py", "--embedding", str(folder), *kept, *recipe.train)
    return head_logits(folder / "model", features.features)


def _network_logits(folder: Path, photos: Photos, asked: Mask) -> Floats:
    """Logits [n, 5] of the photos that are asked for, zeros for the others."""
    model, card = load_model(folder)
    logits = np.zeros((len(photos.ids), len(CLASSES)))
    rows = np.flatnonzero(asked)
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        read = ((photos.folder / "bin-images" / f"{photos.ids[row]}.jpg").read_bytes() for row in part)
        pixels = np.stack([prepare(data, card.preprocessing) for data in read])
        with torch.inference_mode():
            logits[part] = model(torch.from_numpy(pixels)).double().numpy()
    return logits
