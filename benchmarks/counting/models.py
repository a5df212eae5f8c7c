"""Answers for photos whose blocks the answering model has not seen: heads on frozen features, or everything trained.

The project's own jobs do the work: embed.py, train.py. What they have finished stays in the cache, and what they were
doing when they were stopped they go on with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks import RUNTIME
from benchmarks.counting.photos import Mask, Photos, parts_of
from evaluation.calibration import fit_temperature, softmax
from evaluation.count_metrics import Predictions
from features.files import FeatureSet, Part, feature_file, read_split, write_features, write_part_list
from modelling.bin_model import load_model, read_card
from modelling.head import CountHead
from photo import prepare
from stacks.vocabulary import CLASSES

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


def embedded(recipe: Recipe, photos: Photos, cache: Path) -> FeatureSet:
    """Features of all photos, in their order."""
    folder = cache / "features" / recipe.name
    if not (folder / "embedding.json").is_file():
        everything = np.ones(len(photos.ids), dtype=bool)
        shards = photos.write(everything, cache / "shards" / "all")
        few = photos.write(everything & (np.arange(len(photos.ids)) < 10), cache / "shards" / "few")
        run("embed.py", "--train", str(shards), "--validation", str(few), "--output", str(folder), *recipe.embed)
    return read_split(folder / "features", "train")


def cross_fitted(recipe: Recipe, photos: Photos, cache: Path, *, folds: int, share: float = 1.0) -> Predictions:
    """Calibrated answers for every photo, by heads that saw neither it nor its block.

    `share` of the blocks that a head may train on are used.
    """
    features = embedded(recipe, photos, cache)
    assert features.ids == photos.ids
    fold = parts_of(photos.blocks, folds)
    probabilities = np.zeros((len(photos.ids), len(CLASSES)))
    for number in range(folds):
        held_out = fold == number
        train, validation = _cut(photos, ~held_out, share)
        folder = cache / "heads" / f"{recipe.name}-{folds}-{number}-{share:g}".replace(" ", "-")
        logits = _head_logits(recipe, features, train, validation, folder, cache)
        temperature = fit_temperature(logits[validation], photos.counts[validation], classes=CLASSES)
        probabilities[held_out] = softmax(logits[held_out], temperature.value)
    return Predictions.of(photos.counts, probabilities, photos.blocks, classes=CLASSES, answer=recipe.answer)


def fine_tuned(recipe: Recipe, photos: Photos, cache: Path) -> Predictions:
    """Calibrated answers for a fixed quarter of the blocks, by a network that was trained whole on the others."""
    held_out = parts_of(photos.blocks, 4, seed=1) == 0
    train, validation = _cut(photos, ~held_out, 1.0)
    folder = cache / "fine-tuned"
    if not (folder / "model" / "model.json").is_file():
        shards = {"train": train, "validation": validation}
        places = []
        for name, rows in shards.items():
            places += [f"--{name}", str(photos.write(rows, folder / name))]
        kept = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
        run("train.py", "--strategy", "full", *places, *kept, *recipe.train, shown=folder / "train.log")
    logits = _network_logits(folder / "model", photos, held_out | validation)
    temperature = fit_temperature(logits[validation], photos.counts[validation], classes=CLASSES)
    shares = softmax(logits[held_out], temperature.value)
    counts, blocks = photos.counts[held_out], photos.blocks[held_out]
    return Predictions.of(counts, shares, blocks, classes=CLASSES, answer=recipe.answer)


def run(program: str, *arguments: str, shown: Path | None = None) -> None:
    """Run one of the project's jobs by hand; what it says is shown when it fails, and kept where `shown` says."""
    environment = {**os.environ, "PYTHONPATH": ":".join([*map(str, RUNTIME), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(RUNTIME[0] / program), *arguments]
    if shown is None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        code, said = done.returncode, done.stdout[-2000:] + done.stderr[-4000:]
    else:
        with shown.open("ab") as log:
            code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
        said = shown.read_text(errors="replace")[-6000:]
    if code:
        raise SystemExit(f"{program} failed:\n{said}")


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
) -> NDArray[np.float64]:
    """Logits [n, 5] of all photos."""
    if not (folder / "model" / "metrics.json").is_file():
        source = cache / "features" / recipe.name / "backbone" / "model.json"
        (folder / "backbone").mkdir(parents=True, exist_ok=True)
        (folder / "backbone" / "model.json").write_bytes(source.read_bytes())
        for split, chosen in (("train", train), ("validation", validation)):
            rows = np.flatnonzero(chosen)
            write_features(
                feature_file(folder / "features", split, split, 0), features.features[rows],
                features.counts[rows].tolist(), [features.ids[row] for row in rows], view=0,
                precision=features.precision,
            )  # fmt: skip
        parts = {Part(split, split, 0): "" for split in ("train", "validation")}
        write_part_list(folder / "features", parts, read_card(source).tensors)
        kept = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints"), "--artefact", "head"]
        run("train.py", "--embedding", str(folder), *kept, *recipe.train)
    card = read_card(folder / "model" / "model.json")
    tensors = load_file(folder / "model" / "model.safetensors")
    head = CountHead(features.features.shape[1], kind=card.head)
    head.load_state_dict({name.removeprefix("head."): value for name, value in tensors.items()})
    with torch.inference_mode():
        return np.asarray(head.eval()(features.features).double().numpy())


def _network_logits(folder: Path, photos: Photos, asked: Mask) -> NDArray[np.float64]:
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
