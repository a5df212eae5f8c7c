"""Calibrated answers for photos that the answering model has not seen: trained on other blocks of ids, five times.

It runs the project's scripts: ingest.py writes shards, embed.py features of a frozen backbone, train.py heads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.held_out import (
    Floats,
    Integers,
    Mask,
    blocks_of,
    head_logits,
    parts_of,
    rows_of,
    run,
    write_embedding,
)
from evaluation.calibration import fit_temperature, softmax
from features.files import FeatureSet, read_split
from stacks.vocabulary import CLASSES, TRAIN, VALIDATION

FOLDS: Final = 5
_THREADS: Final = 2
# A head on random features of some hundred photos overfits at once: small steps, strong decay, early stop.
HEAD: Final = ("--epochs", "40", "--lr", "0.003", "--batch-size", "64", "--weight-decay", "0.1", "--patience", "8")


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
    ingested = ["--photos-uri", str(photos), "--labels-uri", str(labels), "--output", str(work / "ingest")]
    run("ingest.py", *ingested, threads=_THREADS)
    # Folds are made later, so the shards of all splits are embedded as one; embed.py also needs a validation split.
    shards = ["--train", str(work / "ingest"), "--validation", str(work / "ingest" / "validation")]
    random = ["--weights", "none", "--backbone", backbone, "--output", str(work / "embedding")]
    run("embed.py", *random, *shards, threads=_THREADS)
    return read_split(work / "embedding" / "features", "train")


def cross_fit(features: FeatureSet, work: Path) -> HeldOut:
    """Train a head for each fold of blocks, scale its temperature on another fold, answer for the fold itself."""
    counts = features.counts.numpy().astype(np.int64)
    blocks = blocks_of(features.ids)
    fold = parts_of(blocks, FOLDS)
    scaled, raw, shares = (np.zeros((len(counts), len(CLASSES))) for _ in range(3))
    for number in range(FOLDS):
        test, validation = fold == number, fold == (number + 1) % FOLDS
        train = ~test & ~validation
        logits = _head_logits(features, train, validation, work / f"fold-{number}")
        temperature = fit_temperature(logits[validation], counts[validation], classes=CLASSES)
        raw[test] = softmax(logits[test])
        scaled[test] = softmax(logits[test], temperature.value)
        shares[test] = np.bincount(counts[train], minlength=6)[1:] / train.sum()
    return HeldOut(features.ids, counts, blocks, scaled, raw, shares)


def _head_logits(features: FeatureSet, train: Mask, validation: Mask, folder: Path) -> Floats:
    """Logits [n, 5] of all photos by a head trained on `train` and stopped by `validation`."""
    card = (folder.parent / "embedding" / "backbone" / "model.json").read_bytes()
    splits = {TRAIN: rows_of(features, train), VALIDATION: rows_of(features, validation)}
    write_embedding(folder / "embedding", splits, card)
    kept = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints"), "--artefact", "head"]
    network = ["--embedding", str(folder / "embedding"), "--backbone", json.loads(card)["backbone"]]
    run("train.py", *network, *kept, *HEAD, threads=_THREADS)
    return head_logits(folder / "model", features.features)


def as_lines(ids: Sequence[str], probabilities: Floats) -> str:
    """JSON Lines as the audit reads them."""
    return "".join(
        json.dumps({"image_id": image_id, "probabilities": dict(zip(map(str, CLASSES), row, strict=True))}) + "\n"
        for image_id, row in zip(ids, probabilities.tolist(), strict=True)
    )
