"""Calibrated answers for photos that the answering model has not seen: trained on other blocks of ids, five times.

It runs the project's scripts: ingest.py writes shards, embed.py features of a frozen backbone, train.py heads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks import RUNTIME
from evaluation.calibration import fit_temperature, softmax
from features.files import FeatureSet, Part, feature_file, read_split, write_features, write_part_list
from modelling.bin_model import read_card
from modelling.head import CountHead
from stacks.vocabulary import CLASSES, TRAIN, VALIDATION

FOLDS: Final = 5
BLOCK: Final = 100
# A head on random features of some hundred photos overfits at once: small steps, strong decay, early stop.
HEAD: Final = ("--epochs", "40", "--lr", "0.003", "--batch-size", "64", "--weight-decay", "0.1", "--patience", "8")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Answers for photos from models that never saw their block of ids."""

    ids: tuple[str, ...]
    counts: Integers
    """[n] true counts."""
    blocks: Integers
    """[n]"""
    probabilities: Floats
    """[n, 5] after temperature scaling."""
    uncalibrated: Floats
    """[n, 5] before."""
    class_shares: Floats
    """[n, 5] shares of the counts in each model's training photos: the best probabilities without the photo."""


def embed_photos(photos: Path, work: Path, backbone: str) -> FeatureSet:
    """Features of every usable photo of a folder laid out like the public bucket, by a random frozen backbone."""
    labels = photos / "labels.csv"
    run("ingest.py", "--photos-uri", str(photos), "--labels-uri", str(labels), "--output", str(work / "ingest"))
    # Folds are made later, so the shards of all splits are embedded as one; embed.py also needs a validation split.
    shards = ["--train", str(work / "ingest"), "--validation", str(work / "ingest" / "validation")]
    run("embed.py", "--weights", "none", "--backbone", backbone, "--output", str(work / "embedding"), *shards)
    return read_split(work / "embedding" / "features", "train")


def cross_fit(features: FeatureSet, work: Path) -> HeldOut:
    """Train a head for each fold of blocks, scale its temperature on another fold, answer for the fold itself."""
    counts = features.counts.numpy().astype(np.int64)
    blocks = np.array([int(photo) // BLOCK for photo in features.ids], dtype=np.int64)
    fold = folds_of(blocks)
    scaled, raw, shares = (np.zeros((len(counts), len(CLASSES))) for _ in range(3))
    for number in range(FOLDS):
        test, validation = fold == number, fold == (number + 1) % FOLDS
        train = ~test & ~validation
        logits = _train_head(features, train, validation, work / f"fold-{number}")
        temperature = fit_temperature(logits[validation], counts[validation], classes=CLASSES)
        raw[test] = softmax(logits[test])
        scaled[test] = softmax(logits[test], temperature.value)
        shares[test] = np.bincount(counts[train], minlength=6)[1:] / train.sum()
    return HeldOut(features.ids, counts, blocks, scaled, raw, shares)


def folds_of(blocks: Integers) -> Integers:
    """[n] fold of each photo: whole blocks, largest first, each into the smallest fold so far."""
    names, sizes = np.unique(blocks, return_counts=True)
    filled = [0] * FOLDS
    place: dict[int, int] = {}
    for index in np.argsort(-sizes, kind="stable"):
        smallest = int(np.argmin(filled))
        place[int(names[index])] = smallest
        filled[smallest] += int(sizes[index])
    return np.array([place[int(block)] for block in blocks], dtype=np.int64)


def run(program: str, *arguments: str) -> None:
    """Run one of the project's jobs by hand; its output is shown only when it fails."""
    path = ":".join(map(str, RUNTIME))
    command = [sys.executable, str(RUNTIME[0] / program), *arguments]
    done = subprocess.run(command, env=_environment(path), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def _environment(path: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"}


def _train_head(features: FeatureSet, train: NDArray[np.bool_], validation: NDArray[np.bool_], folder: Path) -> Floats:
    """Logits [n, 5] of all photos by a head trained on `train` and stopped by `validation`."""
    for split, chosen in (("train", train), ("validation", validation)):
        rows = torch.from_numpy(np.flatnonzero(chosen))
        write_features(
            feature_file(folder / "embedding" / "features", split, split, 0),
            features.features[rows],
            features.counts[rows].tolist(),
            [features.ids[row] for row in rows.tolist()],
            view=0,
            precision=features.precision,
        )
    backbone = folder / "embedding" / "backbone"
    backbone.mkdir(parents=True, exist_ok=True)
    card = folder.parent / "embedding" / "backbone" / "model.json"
    (backbone / "model.json").write_bytes(card.read_bytes())
    parts = {Part(split, split, 0): "" for split in (TRAIN, VALIDATION)}
    write_part_list(folder / "embedding" / "features", parts, read_card(card).tensors)
    arguments = ["--embedding", str(folder / "embedding"), "--output", str(folder / "model"), "--artefact", "head"]
    network = json.loads(card.read_text())["backbone"]
    run("train.py", *arguments, "--backbone", network, "--checkpoints", str(folder / "checkpoints"), *HEAD)
    return _answer(load_head(folder / "model", features.features.shape[1]), features)


def load_head(folder: Path, width: int) -> CountHead:
    """The head that train.py saved alone."""
    tensors = load_file(folder / "model.safetensors")
    head = CountHead(width, kind=read_card(folder / "model.json").head)
    head.load_state_dict({name.removeprefix("head."): value for name, value in tensors.items()})
    return head.eval()


def _answer(head: CountHead, features: FeatureSet) -> Floats:
    with torch.inference_mode():
        return np.asarray(head(features.features).double().numpy())


def as_lines(ids: Sequence[str], probabilities: Floats) -> str:
    """JSON Lines as the audit reads them."""
    return "".join(
        json.dumps({"image_id": image_id, "probabilities": dict(zip(map(str, CLASSES), row, strict=True))}) + "\n"
        for image_id, row in zip(ids, probabilities.tolist(), strict=True)
    )
